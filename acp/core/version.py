"""The version of the package: what a receipt, a card and a file of priors say they were made by."""

__version__ = "0.1.0"
