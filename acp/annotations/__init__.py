"""Annotation files in, priors out: readers, geometric predicates, relations of captions."""
