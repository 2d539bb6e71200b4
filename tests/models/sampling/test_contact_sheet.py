"""The preview of training data: a row for each class."""

import numpy as np

from models.sampling.contact_sheet import contact_sheet


def test_each_class_has_a_row_of_its_first_images() -> None:
    labels = np.array([2, 0, 0, 2, 2], np.uint8)
    images = np.full((5, 28, 28), 1, np.uint8) * np.arange(10, 60, 10, dtype=np.uint8)[:, None, None]
    picture = contact_sheet(images, labels, 3, columns=2)
    assert picture.shape == (92, 62)
    cells = picture[2:].reshape(3, 30, 62)[:, :28, 2:].reshape(3, 28, 2, 30)[..., :28]
    assert cells.max(axis=(1, 3)).tolist() == cells.min(axis=(1, 3)).tolist() == [[20, 30], [0, 0], [10, 40]]
