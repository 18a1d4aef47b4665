"""A data set checked as a reader would see it."""
