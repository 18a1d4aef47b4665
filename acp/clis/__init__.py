"""CLIS, the metric: pure functions, arrays in, arrays out."""
