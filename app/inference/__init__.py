"""Digits for requests: the active model, batches, and the buffer of samples."""
