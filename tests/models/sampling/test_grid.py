"""Sheets of digits."""

import numpy as np

from models.sampling.grid import sheet


def test_a_sheet_reads_row_by_row() -> None:
    digits = np.broadcast_to(np.arange(1, 6, dtype=np.uint8)[:, None, None], (5, 28, 28))
    picture = sheet(digits, columns=3, scale=2)
    assert picture.shape == (2 * 56, 3 * 56)
    assert picture[::56, ::56].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert picture[55::56, 55::56].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert sheet(digits).shape == (28, 140)
    assert sheet(np.tile(digits, (8, 1, 1))).shape == (112, 280)


def test_digits_can_be_padded_and_inverted() -> None:
    digits = np.full((3, 28, 28), 200, np.uint8)
    picture = sheet(digits, columns=2, padding=3)
    assert picture.shape == (3 + 2 * 31, 3 + 2 * 31)
    assert (picture[3:31, 34:62] == 200).all()
    assert picture.sum() == digits.sum()  # everything else is background
    assert np.array_equal(sheet(digits, columns=2, padding=3, invert=True), 255 - picture)
