"""Tasks, scorers and a model provider for Inspect AI."""
