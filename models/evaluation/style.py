"""The style of handwritten digits: stroke thickness, slant, height and width, and how alike the digits of a row are.

All sums are sums of integers, and all other steps treat each value by itself: the results are the same on every
machine, so a choice that follows from them is, too.
"""

import math
from typing import NamedTuple

import numpy as np

DESCRIPTORS = ("thickness", "slant", "height", "width")
STEPS = 256  # of a gradient's length: it is rounded to a multiple of 1/256, so that sums are exact


def describe(digits: np.ndarray) -> np.ndarray:
    """Return the DESCRIPTORS of digits, uint8 (n, 28, 28), white on black: float64 (n, 4).

    The thickness, in pixels, is 2 * sum(ink) / sum(|gradient|), because the gradient of a stroke has two sides. The
    slant is the tangent of the shear that makes a digit upright, -mu_xy / mu_yy. Height and width, in pixels, are the
    square roots of mu_yy and mu_xx, the central second moments of the ink. A digit without ink has zeros.
    """
    ink = digits.astype(np.int64)
    rows, columns = (np.arange(size) for size in ink.shape[1:])
    by_row, by_column = ink.sum(2), ink.sum(1)
    total = by_row.sum(1)
    x, y = (by_column * columns).sum(1), (by_row * rows).sum(1)
    xx, yy = (by_column * columns**2).sum(1), (by_row * rows**2).sum(1)
    xy = ((ink * columns).sum(2) * rows).sum(1)
    # Central moments times the square of the ink, which are integers.
    mu_xx, mu_yy, mu_xy = total * xx - x * x, total * yy - y * y, total * xy - x * y
    thickness = divide(2.0 * total, outline_length(ink))
    slant = -divide(mu_xy, mu_yy)
    height, width = (np.sqrt(divide(moment, total * total)) for moment in (mu_yy, mu_xx))
    return np.stack((thickness, slant, height, width), 1)


def divide(dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Divide as float64. A divisor of 0 gives 0."""
    result = np.zeros(len(divisor))
    np.divide(dividend, divisor, out=result, where=divisor != 0)
    return result


def outline_length(ink: np.ndarray) -> np.ndarray:
    """Sum the lengths of the gradients (n,) of ink (n, h, w), by central differences; there is no ink outside."""
    around = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    down, across = around[:, 2:, 1:-1] - around[:, :-2, 1:-1], around[:, 1:-1, 2:] - around[:, 1:-1, :-2]
    lengths = np.rint(np.sqrt((down * down + across * across).astype(np.float64)) * (STEPS / 2)).astype(np.int64)
    total: np.ndarray = lengths.sum((1, 2)) / STEPS
    return total


class Scale(NamedTuple):
    """Mean and standard deviation of the descriptors of one class, (4,) each: they make its styles comparable."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, descriptors: np.ndarray) -> "Scale":
        """Measure descriptors (n, 4) of one class. The deviation of descriptors that are all equal is 1."""
        n = len(descriptors)
        mean = np.array([math.fsum(column) / n for column in descriptors.T])
        squares = (descriptors - mean) ** 2
        deviation = np.sqrt([math.fsum(column) / n for column in squares.T])
        return cls(mean, np.where(deviation > 0, deviation, 1.0))

    def apply(self, descriptors: np.ndarray) -> np.ndarray:
        """Standardise descriptors (n, 4): within the class they have mean 0 and variance 1."""
        standardised: np.ndarray = (descriptors - self.mean) / self.deviation
        return standardised


def style_ratio(rows: np.ndarray) -> float:
    """Return how different the digits of a row are in style. 1: as those of different rows; 0: identical.

    It is the unbiased variance of the descriptors within a row, averaged over rows and descriptors, each descriptor
    standardised within its class: its mean over all orders of the columns is 1.

    Args:
        rows: uint8 (n, K, 28, 28), at least two rows of two digits. Column k of each row is a digit of the k-th class.
    """
    columns = [describe(column) for column in rows.swapaxes(0, 1)]
    styles = np.stack([Scale.of(column).apply(column) for column in columns], 1)  # (n, K, 4)
    return float(styles.var(1, ddof=1).mean())
