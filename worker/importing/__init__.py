"""Builds training data from a file that somebody sent, in a process of its own that has limits."""
