"""The stages, each usable alone."""
