"""On PYTHONPATH of a test's workers: parts of 500 digits instead of 5000, so that a small data set has many."""

from models.synthesis import order

order.PART = 50
