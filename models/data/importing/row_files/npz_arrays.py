"""Reads `.npz` files of NumPy: x_train, y_train, x_test, y_test as Keras has them, images and labels, or x and y.

Arrays are read row by row, and a pickle is never read. Images have the shape (N, H, W), (N, H, W, channels), or
(N, pixels) if they are square. Integers are grey levels from 0 to 255; floats are from 0 to 255, or all from 0 to 1.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from models.bounded_reading import printable
from models.data.importing.containers.zips import ENCRYPTED, METHODS, open_archive
from models.data.importing.items import InvalidImages, Item, Limits
from models.data.importing.names import class_number, split_of
from models.data.importing.sources import DataFile, Part, sentences

SUFFIX = ".npy"
PAIRS = (("images", "labels"), ("x", "y"), ("data", "labels"), ("data", "target"), ("arr_0", "arr_1"))
MEMBERS = 1000  # arrays in a file
BLOCK = 1 << 20  # bytes of images read at once
WHOLE = 100_000_000  # bytes of an array in Fortran's order, which has to be read as a whole
LABELS_LIMIT = 64 << 20  # bytes of an array of labels
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow


class Array(NamedTuple):
    """An array in the file."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int  # of the elements, in bytes


def npz_parts(file: DataFile, limits: Limits) -> list[Part]:
    """Find the pairs of arrays of images and labels. Raises InvalidImages."""
    with _archive(file, limits) as archive:
        arrays = {}
        for info in archive.infolist():
            if not info.filename.endswith(SUFFIX):
                continue
            if info.flag_bits & ENCRYPTED or info.compress_type not in METHODS:
                name = printable(info.filename)
                raise InvalidImages(f"{file.shown} has an array that is encrypted or not deflated: {name}")
            with sentences(f"{file.name}/{info.filename}"), archive.open(info) as member:
                array = _header(member, info.filename.removesuffix(SUFFIX), file)  # type: ignore[arg-type]
            arrays[array.key.lower()] = array
        pairs = _pairs(list(arrays))
        if not pairs:
            names = ", ".join(printable(array.key[:40]) for array in list(arrays.values())[:8]) or "none"
            raise InvalidImages(
                f"{file.shown} has no arrays x_train and y_train, images and labels, or x and y, but: {names}"
            )
        return [_part(file, arrays[images], arrays[labels], archive, limits) for images, labels in pairs]


def _pairs(keys: list[str]) -> list[tuple[str, str]]:
    """Return the keys of images and labels: of the splits, if there are such keys, otherwise of the whole data set."""
    for names in PAIRS:
        pairs = []
        for key in keys:
            words = key.split("_")
            if split_of(key) and names[0] in words:
                other = "_".join(names[1] if word == names[0] else word for word in words)
                pairs += [(key, other)] if other in keys else []
        if pairs:
            return sorted(pairs, key=lambda pair: split_of(pair[0]) != "train")
    return next(([pair] for pair in PAIRS if pair[0] in keys and pair[1] in keys), [])


@contextmanager
def _archive(file: DataFile, limits: Limits) -> Iterator[zipfile.ZipFile]:
    with file.open() as stream, open_archive(stream, file.name, limits._replace(entries=MEMBERS)) as archive:
        yield archive


def _header(member: BinaryIO, key: str, file: DataFile) -> Array:
    """Parse the header of an array. Raises InvalidImages if it has no plain numbers or text."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    reader = readers.get(npy.read_magic(member))
    if reader is None:
        raise InvalidImages(f"{file.shown} has an array of a version that is not read: {printable(key)}")
    shape, fortran, dtype = reader(member)
    if dtype.hasobject:
        raise InvalidImages(f"{file.shown} has an array that needs a pickle, which is never read: {printable(key)}")
    return Array(key, shape, dtype, fortran and len(shape) > 1, member.tell())


def _part(file: DataFile, images: Array, labels: Array, archive: zipfile.ZipFile, limits: Limits) -> Part:
    """Check the shapes, and read the labels. Raises InvalidImages."""
    place = f"{printable(images.key)} of {file.shown}"
    size = _size(images, place)
    if images.dtype.kind not in "biuf" or images.dtype.itemsize > 8:
        raise InvalidImages(f"{place} has elements of type {images.dtype}, and numbers are needed")
    if math.prod(size) > limits.pixels:
        raise InvalidImages(f"{place} has images of {size[1]:,} x {size[0]:,} pixels, which is too large")
    nbytes = math.prod(images.shape) * images.dtype.itemsize
    if images.shape[0] > limits.images or nbytes > limits.unpacked:
        raise InvalidImages(f"{place} has {images.shape[0]:,} images of {nbytes:,} bytes, which is too large")
    if images.fortran and nbytes > WHOLE:
        raise InvalidImages(f"{place} is in Fortran's order and too large: save numpy.ascontiguousarray of it")
    with sentences(f"{file.name}/{labels.key}"):
        values = _labels(file, labels, archive)
    if len(values) != images.shape[0]:
        raise InvalidImages(f"{place} has {images.shape[0]:,} images, but there are {len(values):,} labels")

    def rows(first: int) -> Iterator[Item]:
        with _archive(file, limits) as opened:
            scale = _scale(opened, images, place)
            for number, pixels in enumerate(_pixels(opened, images, first, place), first):
                name = f"image {number + 1} of {place}"
                yield Item(name, class_number(str(values[number]), name), None, _grey(pixels * scale, size, name))

    return Part("npz", file.shown, split_of(images.key), images.shape[0], rows)


def _size(images: Array, place: str) -> tuple[int, ...]:
    """Return the shape of an image, (H, W) or (H, W, channels). Raises InvalidImages."""
    shape = images.shape[1:]
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]:
        shape = (math.isqrt(shape[0]),) * 2
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if not is_image or min(shape, default=0) < 1:
        raise InvalidImages(f"{place} has the shape {images.shape}, and images have (N, H, W) or (N, H, W, channels)")
    return shape


def _labels(file: DataFile, labels: Array, archive: zipfile.ZipFile) -> np.ndarray:
    """Read the labels (N,). Raises InvalidImages if they are not whole numbers or texts."""
    place = f"{printable(labels.key)} of {file.shown}"
    shape = labels.shape
    if not shape or math.prod(shape) != shape[0] or labels.dtype.kind not in "biufUS":
        raise InvalidImages(
            f"{place} has the shape {shape} and type {labels.dtype}, and one label for each image is needed"
        )
    size = shape[0] * labels.dtype.itemsize
    if size > LABELS_LIMIT:
        raise InvalidImages(f"{place} has {size:,} bytes of labels, and at most {LABELS_LIMIT:,} are allowed")
    with archive.open(labels.key + SUFFIX) as member:
        data = member.read(labels.start + size)[labels.start :]
    if len(data) < size:
        raise InvalidImages(f"{place} is cut off")
    values = np.frombuffer(data, labels.dtype)
    if labels.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.round(values)).any():
            raise InvalidImages(f"{place} has labels that are not whole numbers")
        return values.astype(np.int64)
    return np.char.decode(values, "utf-8") if labels.dtype.kind == "S" else values


def _pixels(archive: zipfile.ZipFile, images: Array, first: int, place: str) -> Iterator[np.ndarray]:
    """Yield the elements of each image from number `first`, one-dimensional in C's order."""
    elements = math.prod(images.shape[1:])
    nbytes = elements * images.dtype.itemsize
    with sentences(place), archive.open(images.key + SUFFIX) as member:
        if images.fortran:
            data = member.read(images.start + nbytes * images.shape[0])[images.start :]
            whole = np.frombuffer(data, images.dtype).reshape(images.shape, order="F")
            yield from (image.ravel() for image in whole[first:])
            return
        member.seek(images.start + first * nbytes)
        at, step = first, max(BLOCK // nbytes, 1)
        while at < images.shape[0]:
            count = min(step, images.shape[0] - at)
            data = member.read(count * nbytes)
            if len(data) < count * nbytes:
                raise InvalidImages(f"{place} ends early: image {at + len(data) // nbytes + 1} is cut off")
            yield from np.frombuffer(data, images.dtype).reshape(count, elements)
            at += count


def _scale(archive: zipfile.ZipFile, images: Array, place: str) -> int:
    """Return 255 for images of bool, or of floats that are all at most 1, otherwise 1."""
    if images.dtype.kind == "b":
        return 255
    if images.dtype.kind != "f":
        return 1
    is_unit = all(pixels.max() <= 1 for pixels in _pixels(archive, images, 0, place))
    return 255 if is_unit else 1


def _grey(pixels: np.ndarray, size: tuple[int, ...], name: str) -> np.ndarray:
    """Return grey levels (H, W) as uint8. Raises InvalidImages for a value that is not from 0 to 255."""
    if pixels.dtype != np.uint8:
        if not (pixels.min() >= 0 and pixels.max() <= 255):  # false for NaN too
            bad = pixels[~((pixels >= 0) & (pixels <= 255))][0]
            raise InvalidImages(f"{name} has the value {bad}, and grey levels are from 0 to 255")
        pixels = np.round(pixels).astype(np.uint8) if pixels.dtype.kind == "f" else pixels.astype(np.uint8)
    picture = pixels.reshape(size)
    if len(size) == 2:
        return picture
    if size[2] == 1:
        return picture[:, :, 0]
    grey: np.ndarray = np.round(picture[:, :, :3] @ LUMA).astype(np.uint8)
    return grey
