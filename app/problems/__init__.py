"""Conditional requests, ranges and the sentences of validation errors."""
