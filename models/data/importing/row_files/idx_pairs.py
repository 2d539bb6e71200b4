"""Reads pairs of IDX files, images (N, H, W) and labels (N,) of unsigned bytes, plain or gzipped."""

import re
from collections.abc import Iterator
from pathlib import PurePath

import numpy as np

from models.bounded_reading import GZIP, gunzip_head, printable
from models.data.idx import ArrayHeader, idx_header_of, read_idx
from models.data.importing.items import InvalidImages, Item, Limits
from models.data.importing.names import split_of
from models.data.importing.sources import DataFile, Part, sentences

KINDS = {3: "images", 1: "labels"}  # by the number of dimensions
HEAD = 1 << 12  # bytes, also of gzip data, that contain a header
KIND_WORDS = re.compile(r"(?<![a-z])(images?|imgs?|labels?|idx[13])(?![a-z0-9])|(\.gz)$")


def header_of(head: bytes) -> ArrayHeader | None:
    """Parse the header of an IDX file of unsigned bytes, also a gzipped one; None if it is something else."""
    return idx_header_of(gunzip_head(head, HEAD) if head.startswith(GZIP) else head)


def idx_parts(files: list[DataFile], limits: Limits) -> list[Part]:
    """Pair files of images with their labels by name, for example train-images-idx3-ubyte with train-labels-idx1-ubyte.

    A file that exists both plain and gzipped is used once. Raises InvalidImages if one has no counterpart.
    """
    found: dict[str, dict[str, DataFile]] = {kind: {} for kind in KINDS.values()}
    for file in sorted(files, key=lambda file: file.name.endswith(".gz")):
        header = header_of(file.head(HEAD))
        if header is None:
            raise InvalidImages(f"{file.shown} is not an IDX file of unsigned bytes with one or three dimensions")
        found[KINDS[len(header.shape)]].setdefault(KIND_WORDS.sub("", file.name.lower()), file)
    images, labels = found["images"], found["labels"]
    if len(images) == len(labels) == 1:  # under any names
        labels = dict(zip(images, labels.values(), strict=True))
    for key in sorted(images.keys() ^ labels.keys()):
        file, missing = (images[key], "labels") if key in images else (labels[key], "images")
        raise InvalidImages(f"{file.shown} is an IDX file without a file of {missing} of the same name")
    if not images:
        raise InvalidImages("there is no IDX file of images")
    return [idx_part(images[key], labels[key], limits) for key in sorted(images)]


def idx_part(images: DataFile, labels: DataFile, limits: Limits) -> Part:
    """Check the headers and read the labels of a pair. Raises InvalidImages."""
    shape, start = _header(images, "images", limits)
    values = _labels(labels, limits)
    if len(values) != shape[0]:
        raise InvalidImages(f"{images.shown} has {shape[0]:,} images, and {labels.shown} has {len(values):,} labels")

    def rows(first: int) -> Iterator[Item]:
        with images.open_plain() as file, sentences(images.name):
            file.seek(start + first * shape[1] * shape[2])
            for number in range(first, shape[0]):
                data = file.read(shape[1] * shape[2])
                if len(data) < shape[1] * shape[2]:
                    raise InvalidImages(f"{images.shown} ends early: image {number + 1} of {shape[0]:,} is cut off")
                pixels = np.frombuffer(data, np.uint8).reshape(shape[1:])
                yield Item(f"image {number + 1} of {images.shown}", str(values[number]), None, pixels)
            if file.read(1):
                raise InvalidImages(f"{images.shown} has more bytes than its {shape[0]:,} images")

    name = PurePath(images.name).name
    return Part("IDX", images.shown, split_of(name, *reversed(images.folder)), shape[0], rows)


def _header(file: DataFile, kind: str, limits: Limits) -> ArrayHeader:
    header = header_of(file.head(HEAD))
    if header is None or KINDS[len(header.shape)] != kind:
        raise InvalidImages(f"{file.shown} is not an IDX file of {kind}")
    count, *size = header.shape
    if count > limits.images:
        raise InvalidImages(f"{file.shown} has {count:,} {kind}, and at most {limits.images:,} are allowed")
    if size and not 0 < size[0] * size[1] <= limits.pixels:
        raise InvalidImages(f"{file.shown} has images of {size[1]:,} x {size[0]:,} pixels, which cannot be used")
    return header


def _labels(file: DataFile, limits: Limits) -> np.ndarray:
    shape, start = _header(file, "labels", limits)
    with file.open_plain() as stream, sentences(file.name):
        data = stream.read(start + shape[0] + 1)
    try:
        return read_idx(data)
    except ValueError:
        raise InvalidImages(f"{file.shown} does not have the {shape[0]:,} labels that its header promises") from None


def sibling(name: str) -> str | None:
    """Return the name of the labels of a file of images: train-labels-idx1-ubyte of train-images-idx3-ubyte."""
    other = name.replace("images", "labels").replace("imgs", "labels").replace("idx3", "idx1")
    return other if other != name else None


def without_labels(name: str) -> InvalidImages:
    """Return the error of a file of images without labels."""
    return InvalidImages(f"{printable(name)} is an IDX file of images: its file of labels is needed too")
