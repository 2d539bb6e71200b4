"""Layout of numbers: digits side by side, spaced by their ink instead of cell by cell.

The ink of all digits has the same baseline, and neighbours are as close as their ink permits. Digits are moved by whole
pixels, so each shows the pixels of its address.
"""

from itertools import pairwise

import numpy as np

from models.config import IMAGE_SIZE

INK = 64  # grey level, 0-255, from which a pixel is ink; fainter pixels are the edge of a stroke
GAP = 4  # pixels between the ink of neighbours
REACH = 2  # rows above and below a row in which its neighbour must keep the gap too
OVERLAP = 3  # pixels by which the boxes of neighbours may overlap, such as those of a 7 and a 4
MARGIN = 4  # pixels around the ink, as in MNIST's own cells
HEIGHT = 20  # height of the ink of MNIST's digits in pixels
BLANK = 12  # width of a digit without ink in pixels


def set_number(digits: np.ndarray, scale: int = 1, padding: int = 0, invert: bool = False) -> np.ndarray:
    """Set uint8 digits (n, 28, 28) side by side on one line.

    Args:
        scale: pixels of the picture for each pixel of a digit, along an axis.
        padding: pixels of background around the number.
        invert: black on white instead of white on black.

    Returns:
        uint8 (height, width): the ink, 4 * scale pixels around it, and the padding.
    """
    outlines, boxes = [outline(digit) for digit in digits], [ink_box(digit) for digit in digits]
    starts = places(outlines)
    line = MARGIN + max(HEIGHT, *(bottom - top for top, bottom in boxes))  # the row below the ink
    width = MARGIN + max(start + int(ends.max()) for start, (_, ends) in zip(starts, outlines, strict=True)) + MARGIN
    # The faint edges of strokes extend beyond the picture, so the cells are drawn on a larger canvas.
    canvas = np.zeros((line + 2 * IMAGE_SIZE, width + 2 * IMAGE_SIZE), np.uint8)
    for digit, start, (_, bottom) in zip(digits, starts, boxes, strict=True):
        top, left = IMAGE_SIZE + line - bottom, IMAGE_SIZE + MARGIN + start
        cell = canvas[top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
        np.maximum(cell, digit, out=cell)
    shown = canvas[IMAGE_SIZE : IMAGE_SIZE + line + MARGIN, IMAGE_SIZE : IMAGE_SIZE + width]
    picture = np.pad(shown.repeat(scale, 0).repeat(scale, 1), padding)
    return 255 - picture if invert else picture


def ink_box(digit: np.ndarray) -> tuple[int, int]:
    """Return the first row of a digit (28, 28) with ink, and the first row below its ink; without ink, the middle."""
    rows = np.flatnonzero((digit >= INK).any(1))
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (MARGIN, IMAGE_SIZE - MARGIN)


Outline = tuple[
    np.ndarray, np.ndarray
]  # for each row, counted upwards from the baseline: first column with ink, first column after the ink


def outline(digit: np.ndarray) -> Outline:
    """Return the columns in which a digit's ink begins and ends in each of 28 rows, counted upwards from the baseline.

    Rows without ink begin at 28 and end at 0, as far from any neighbour as possible.
    """
    ink = digit >= INK
    if not ink.any():
        ink = np.zeros_like(ink)
        ink[MARGIN:-MARGIN, (IMAGE_SIZE - BLANK) // 2 : (IMAGE_SIZE + BLANK) // 2] = True
    ink = np.roll(ink, IMAGE_SIZE - ink_box(digit)[1], axis=0)[::-1]
    inked = ink.any(1)
    begins = np.where(inked, ink.argmax(1), IMAGE_SIZE)
    ends = np.where(inked, IMAGE_SIZE - ink[:, ::-1].argmax(1), 0)
    return begins, ends


def places(outlines: list[Outline]) -> list[int]:
    """Return the left edge of each cell. The first ink is at 0."""
    starts = [-int(outlines[0][0].min())]
    for (_, ends), (begins, _) in pairwise(outlines):
        reached = np.array([ends[max(0, row - REACH) : row + REACH + 1].max() for row in range(IMAGE_SIZE)])
        by_ink = int((reached - begins).max()) + GAP
        by_box = int(ends.max() - begins.min()) - OVERLAP
        starts.append(starts[-1] + max(by_ink, by_box))
    return starts
