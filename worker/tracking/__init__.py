"""Experiment tracking: sends the figures of each epoch to TensorBoard or MLflow, and never delays or fails a run."""
