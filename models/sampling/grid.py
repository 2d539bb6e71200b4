"""Sheets: digits in rows and columns."""

import numpy as np

from models.config import IMAGE_SIZE


def sheet(
    digits: np.ndarray, columns: int | None = None, scale: int = 1, padding: int = 0, invert: bool = False
) -> np.ndarray:
    """Arrange uint8 digits (n, 28, 28) row by row; by default in rows of 10.

    Args:
        scale: pixels of the picture for each pixel of a digit, along an axis.
        padding: pixels of background around and between the digits.
        invert: black on white instead of white on black.

    Returns:
        uint8 (rows * cell + padding, columns * cell + padding), with cell = 28 * scale + padding.
    """
    n, size = len(digits), IMAGE_SIZE * scale
    columns = min(n, columns or 10)
    rows, cell = -(-n // columns), size + padding
    if scale > 1:
        digits = digits.repeat(scale, 1).repeat(scale, 2)
    cells = np.zeros((rows * columns, cell, cell), np.uint8)
    cells[:n, padding:, padding:] = digits
    picture = cells.reshape(rows, columns, cell, cell).swapaxes(1, 2).reshape(rows * cell, -1)
    if padding:
        picture = np.pad(picture, ((0, padding), (0, padding)))
    return 255 - picture if invert else picture
