"""Logs and metrics of a worker."""
