"""File formats of digits, one row each: schemas, negotiation, metrics and the page read this table.

Files contain no time, so the same digits give the same bytes.
"""

import io
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.config import IMAGE_SIZE
from models.sampling.grid import sheet
from models.sampling.png import encode_png
from models.sampling.sampler import Samples


class Look(NamedTuple):
    """How digits are shown: the parameters of a sheet."""

    columns: int | None = None
    scale: int = 1
    padding: int = 0
    invert: bool = False


def write_png(samples: Samples, look: Look) -> bytes:
    return encode_png(sheet(samples.digits, *look))


def write_zip(samples: Samples, look: Look) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for position, digit in enumerate(samples.digits):
            entry = zipfile.ZipInfo(f"{samples.name(position)}.png")
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, encode_png(sheet(digit[None], *look._replace(columns=1))))
    return buffer.getvalue()


def write_npy(samples: Samples, look: Look) -> bytes:
    """Write (n, 28, 28), or (n, K, 28, 28) for digits of all classes, in numpy's own format, without pickle."""
    series = samples.series
    by_class = (-1, series.classes, IMAGE_SIZE, IMAGE_SIZE) if series.label is None else samples.digits.shape
    return encode_npy(samples.digits.reshape(by_class))


def encode_npy(digits: np.ndarray) -> bytes:
    """Encode an array in numpy's own format, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, digits, allow_pickle=False)
    return buffer.getvalue()


class Format(NamedTuple):
    media_type: str
    description: str
    encode: Callable[[Samples, Look], bytes]
    has_look: bool = True  # whether the file depends on the look
    overhead: int = 0  # of each digit, as a number of pixels whose encoding takes the same time

    def work(self, digits: int, look: Look) -> int:
        """Return the work of encoding, as a number of pixels. A processor encodes about 200,000 in a millisecond."""
        side = IMAGE_SIZE * look.scale + look.padding if self.has_look else IMAGE_SIZE
        return digits * (side**2 + self.overhead)


FORMATS = {
    "png": Format("image/png", "one sheet", write_png),
    "zip": Format("application/zip", "one PNG per digit", write_zip, overhead=10_000),
    "npy": Format("application/x-npy", "numpy array", write_npy, has_look=False),
}
