"""The networks, how they compute, and their weights."""
