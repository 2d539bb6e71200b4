"""Layouts of generated data sets: the arrangements of files that the readers of other libraries expect."""
