"""The preview of training data: a row of sample images for each class."""

import numpy as np

from models.config import IMAGE_SIZE
from models.sampling.grid import sheet

COLUMNS = 10
PADDING = 2  # pixels


def contact_sheet(images: np.ndarray, labels: np.ndarray, classes: int, columns: int = COLUMNS) -> np.ndarray:
    """Draw the first images of each class, uint8 (N, 28, 28) with labels (N,), one row for each of `classes`.

    Returns uint8 (30 `classes` + 2, 30 `columns` + 2), white on black. Cells are black if a class has fewer images.
    """
    cells = first_of_each_class(images, labels, classes, columns)
    return sheet(cells.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), columns, padding=PADDING)


def first_of_each_class(images: np.ndarray, labels: np.ndarray, classes: int, count: int) -> np.ndarray:
    """Return the first `count` images of each class, uint8 (classes, count, 28, 28); zeros if a class has fewer."""
    cells = np.zeros((classes, count, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for label, row in enumerate(cells):
        shown = images[np.flatnonzero(labels == label)[:count]]
        row[: len(shown)] = shown
    return cells
