"""Auto Cherry-Picker: synthetic training data from a list of concepts, and the metric that picks
the good samples. Importing it loads no model library."""

__version__ = "0.1.0"
