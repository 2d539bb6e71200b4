"""Archives of labelled pictures, as a user sends them."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np

from models.sampling.png import encode_png

CLASSES = ("a", "b", "c")


def rectangles(count: int, classes: int, seed: int = 0) -> Iterator[tuple[np.ndarray, int]]:
    """Yield pictures (28, 28) uint8 with their labels: rectangles of noise, whose height is the class. No two agree."""
    noise = np.random.default_rng(seed)
    for number in range(count):
        label = number % classes
        picture = np.zeros((28, 28), np.uint8)
        height = 4 + 18 * label // classes
        picture[3 : 3 + height, 4:24] = noise.integers(90, 256, (height, 20))
        yield picture, label


def zip_of_pictures(classes: tuple[str, ...] = CLASSES, count: int = 60, seed: int = 0) -> bytes:
    """A zip archive with a folder for each class. Together they have `count` pictures."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, (picture, label) in enumerate(rectangles(count, len(classes), seed)):
            entry = zipfile.ZipInfo(f"{classes[label]}/{number:06}.png")  # of a fixed time: the same bytes every time
            archive.writestr(entry, encode_png(picture))
    return packed.getvalue()


def bomb(megabytes: int = 64) -> bytes:
    """A zip archive with one file of zeros, a thousandth of its size."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(megabytes << 20))
        archive.writestr("b/1.png", bytes(megabytes << 20))
    return packed.getvalue()
