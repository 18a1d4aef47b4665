"""CLIS, the metric: arrays in, arrays out, without any model library; `acp.score` takes rows."""
