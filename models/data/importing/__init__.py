"""Readers of labelled images that a user brings, in common formats."""
