"""Builds training data from a file that a user sent, in a process of its own that has limits."""
