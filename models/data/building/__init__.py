"""Builds training data from labelled images: decodes them in processes, splits them, and checks the result."""
