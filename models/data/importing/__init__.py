"""Readers of labelled images that a user brings, in the formats that people have them in."""
