"""What several backends share: loading models, batching, and the parts of each model."""
