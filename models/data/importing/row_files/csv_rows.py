"""Reads CSV files with one image a row, as on Kaggle: `label,pixel0,pixel1,...`, plain or gzipped.

The header is optional. Without one, the label is the first value. With one, it is the column `label` or `class`. All
other columns are pixels, 0 to 255, row by row, of a square image.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

import numpy as np

from models.bounded_reading import printable
from models.data.importing.items import InvalidImages, Item, Limits
from models.data.importing.names import class_number, split_of
from models.data.importing.sources import DataFile, Part, sentences

LINE = 4 << 20  # bytes; a picture of 1024 x 1024 pixels
LABELS = ("label", "class", "labels", "target")
BOM = b"\xef\xbb\xbf"


class Layout(NamedTuple):
    """The columns of a file."""

    has_header: bool
    label: int  # the label's column
    columns: int
    side: int  # pixels of the square image


def csv_part(file: DataFile, limits: Limits) -> Part:
    """Check the first lines of a file. Raises InvalidImages if it has no labels, or its images are not square."""
    with _lines(file) as lines:
        layout = _layout(next(lines, (0, b""))[1], file.shown, limits)

    def rows(first: int) -> Iterator[Item]:
        with _lines(file) as lines:
            if layout.has_header:
                next(lines, None)
            for number, (_, line) in enumerate(lines, 1):
                if number > first:
                    yield _item(line, f"row {number} of {file.shown}", layout)

    name = PurePath(file.name).name
    return Part("CSV", file.shown, split_of(name, *reversed(file.folder)), None, rows)


@contextmanager
def _lines(file: DataFile) -> Iterator[Iterator[tuple[int, bytes]]]:
    """Open a file as an iterator of its lines that are not empty, with their numbers."""
    with file.open_plain() as stream:
        yield _split(stream, file.name)


def _split(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    with sentences(name):
        while line := stream.readline(LINE + 1):
            number += 1
            if len(line) > LINE:
                raise InvalidImages(f"{printable(name)} is not a CSV file of images: line {number} is very long")
            if b"\0" in line:
                raise InvalidImages(f"{printable(name)} is not a CSV file: line {number} has a zero byte")
            if line := line.removeprefix(BOM if number == 1 else b"").strip():
                yield number, line


def _fields(line: bytes) -> list[bytes]:
    return line.replace(b'"', b"").split(b",")


def _layout(line: bytes, name: str, limits: Limits) -> Layout:
    """Find the columns in the first line. Raises InvalidImages."""
    fields = _fields(line)
    columns = len(fields)
    titles = [field.decode("utf-8", "replace").strip().lower() for field in fields]
    label = next((titles.index(title) for title in LABELS if title in titles), -1)
    has_header = label >= 0 or not all(map(_is_number, fields[1:]))
    if columns == 1:
        raise InvalidImages(f"{name} is not a CSV file of images, which has rows of `label,pixel0,pixel1,...`")
    if has_header and label < 0:
        raise InvalidImages(f"{name} has a header without a column `label`: the classes of its images are not known")
    side = math.isqrt(columns - 1)
    if side < 2 or side * side != columns - 1:
        raise InvalidImages(
            f"{name} has {columns - 1:,} columns beside the label, which is no square such as 784 = 28 x 28 pixels"
        )
    if side * side > limits.pixels:
        raise InvalidImages(f"{name} has images of {side:,} x {side:,} pixels, which is too large")
    return Layout(has_header, max(label, 0), columns, side)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _item(line: bytes, place: str, layout: Layout) -> Item:
    """Parse a row. Raises InvalidImages if it does not have a label and whole numbers from 0 to 255."""
    fields = _fields(line)
    if len(fields) != layout.columns:
        raise InvalidImages(f"{place} has {len(fields):,} values, and {layout.columns:,} are needed")
    label = class_number(fields.pop(layout.label).decode("utf-8", "replace"), place)
    try:
        values = np.array(list(map(int, fields)), np.int64)
    except (ValueError, OverflowError):
        values = np.array([_value(field, place) for field in fields])
    if values.min() < 0 or values.max() > 255:
        bad = values[(values < 0) | (values > 255)][0]
        raise InvalidImages(f"{place} has the value {bad}, and pixels are whole numbers from 0 to 255")
    return Item(place, label, None, values.astype(np.uint8).reshape(layout.side, layout.side))


def _value(field: bytes, place: str) -> int:
    """Parse a whole number such as `12.0`."""
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 255 or value != int(value):
        text = printable(field.decode("utf-8", "replace").strip()[:40]) or "nothing"
        raise InvalidImages(f"{place} has the value {text}, and pixels are whole numbers from 0 to 255")
    return int(value)
