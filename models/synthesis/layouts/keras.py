"""A data set as Keras' `mnist.npz`: the arrays x_train, y_train, x_test and y_test, uint8.

The npz format is a zip archive of npy files: numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from collections.abc import Iterator
from itertools import chain

from models.config import IMAGE_SIZE
from models.synthesis.layouts.archive import DEFLATER, Member, write_zip
from models.synthesis.layouts.source import DatasetSource

BLOCK = 1000  # digits
NPY_MAGIC, NPY_ALIGNMENT = b"\x93NUMPY\x01\x00", 64


def write(source: DatasetSource) -> Iterator[bytes]:
    """Yield an npz file. Raises the errors of `DatasetSource.images`."""
    return write_zip(arrays(source))


def arrays(source: DatasetSource) -> Iterator[Member]:
    for split, name in zip(source.manifest.splits, ("train", "test"), strict=True):
        n = split.examples
        images = chain([npy_header((n, IMAGE_SIZE, IMAGE_SIZE))], source.images(split, BLOCK))
        yield Member(f"x_{name}.npy", images)
        yield Member(f"y_{name}.npy", chain([npy_header((n,))], source.labels(split, BLOCK)))


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an npy file of unsigned bytes, version 1.0. numpy's own differs between its versions."""
    described = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    padding = -(len(NPY_MAGIC) + 2 + len(described) + 1) % NPY_ALIGNMENT
    length = len(described) + padding + 1
    return NPY_MAGIC + length.to_bytes(2, "little") + described + b" " * padding + b"\n"


def libraries() -> str:
    return DEFLATER
