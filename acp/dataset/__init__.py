"""Data set folders: receipt, checks, card, pictures, scores."""
