"""Digits and pictures drawn by a generator."""
