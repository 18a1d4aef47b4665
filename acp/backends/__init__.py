"""Backends: one file each, found through `acp.backends.registry`."""
