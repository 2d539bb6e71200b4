"""Folders of small pictures, one folder a class: strokes whose row is the class, dark on white."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 40  # pixels


def picture(row: int, number: int) -> np.ndarray:
    """A picture, uint8 (40, 40): a bar in one of 10 rows. Each number below 1000 gives another one."""
    pixels = np.full((SIZE, SIZE), 255, np.uint8)
    pixels[4 + 3 * row : 6 + 3 * row, 4 : 34 + number % 3] = 0
    random = np.random.default_rng(number)
    pixels[random.integers(4, 36, 24), random.integers(4, 36, 24)] = 0
    return pixels


def write_class(folder: Path, row: int, numbers: Iterable[int]) -> None:
    """Write one PNG file for each number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(picture(row, number)).save(folder / f"{number}.png", compress_level=1)


def write_classes(folder: Path, counts: Mapping[str, int]) -> Path:
    """Write a folder for each class with this number of pictures. Returns the folder of them all."""
    for row, (name, count) in enumerate(counts.items()):
        write_class(folder / name, row % 10, range(1000 * row, 1000 * row + count))
    return folder
