"""Reads arrays of numbers from an untrusted HDF5 file: lists them with their shapes, then reads those requested.

HDF5 can refer to other files (external storage, virtual data sets, external and soft links), describe arrays of any
size without storing them, and nest or link groups without end. All of these are refused before any array is read.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from models.bounded_reading import (
    HDF5,
    HEAD,
    FileNotUnderstood,
    FileTooLarge,
    FileTorn,
    file_size,
    foreign_kind,
    printable,
    read_head,
)

FILE_LIMIT = 512 << 20  # bytes; both networks with an optimizer's moments and the largest latents have some 200 MB
CHUNK_LIMIT = 64 << 20  # bytes of one chunk of an array
OBJECTS_LIMIT = 2000  # groups and arrays; both networks with an optimizer have about 250
DEPTH_LIMIT = 16  # nested groups; both networks have 8
DIMENSIONS_LIMIT = 4
FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32: part of every HDF5 library, and bounded by the chunk


class StoredArray(NamedTuple):
    path: str  # within the file
    shape: tuple[int, ...]

    @property
    def group(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class ArrayFile:
    """An open file with a list of its arrays of floating-point numbers."""

    def __init__(self, path: Path, file: h5py.File, skip: Callable[[str], bool]) -> None:
        self.path = path
        self._file = file
        self.arrays = list(_list_arrays(file, skip))

    def read(self, array: StoredArray) -> np.ndarray:
        """Return the array as float32, of `array.shape`. Raises FileTorn."""
        with _faults(self.path):
            return np.asarray(self._file[array.path][()], dtype=np.float32)


@contextmanager
def open_arrays(path: Path, skip: Callable[[str], bool]) -> Iterator[ArrayFile]:
    """Open a file and list its arrays, except those in groups for whose name `skip` returns true.

    Raises FileMissing, FileUnreadable, FileTooLarge, FileTorn or FileNotUnderstood; all name the file.
    """
    if (size := file_size(path)) > FILE_LIMIT:
        raise FileTooLarge(f"{printable(path)} has {size:,} bytes, and a weights file has at most {FILE_LIMIT:,}")
    head = read_head(path, HEAD)
    if not head.startswith(HDF5) and ((kind := foreign_kind(head)) or not h5py.is_hdf5(path)):
        raise FileNotUnderstood(f"{printable(path)} is {kind or 'not an HDF5 file'}")
    with _faults(path):
        file = h5py.File(path, "r", locking=False)  # a network file system may have no locks
    with file:
        with _faults(path):
            arrays = ArrayFile(path, file, skip)
        yield arrays


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Convert the errors that h5py raises for a damaged file to ones that name the file."""
    try:
        yield
    except _Refused as error:
        raise FileNotUnderstood(f"{printable(path)} {error}") from error
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise FileTorn(f"{printable(path)} is a damaged HDF5 file: {printable(error)[:200]}") from error


class _Refused(Exception):
    """The file contains something that a weights file never contains."""


def _list_arrays(file: h5py.File, skip: Callable[[str], bool]) -> Iterator[StoredArray]:
    pending: list[tuple[str, h5py.Group, int]] = [("", file, 1)]
    objects = 0
    while pending:
        prefix, group, depth = pending.pop()
        objects += len(group)
        if objects > OBJECTS_LIMIT or depth > DEPTH_LIMIT:
            raise _Refused(f"is not a weights file: it nests or holds more than {OBJECTS_LIMIT:,} groups and arrays")
        for name in group:
            if skip(name):
                continue
            item = _open(group, name)
            if isinstance(item, h5py.Group):
                pending.append((f"{prefix}{name}/", item, depth + 1))
            elif isinstance(item, h5py.Dataset) and _is_readable(item, f"{prefix}{name}"):
                yield StoredArray(f"{prefix}{name}", item.shape)


def _open(group: h5py.Group, name: str) -> h5py.HLObject:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise _Refused(f"is refused: {printable(name)[:80]} in it links to another place or file")
    return group[name]


def _is_readable(item: h5py.Dataset, path: str) -> bool:
    """Return whether it is an array of floating-point numbers. Raises _Refused for external or unbounded storage."""
    if item.is_virtual or item.external:
        raise _Refused(f"is refused: the data of {printable(path)[:80]} are stored in another file")
    if item.shape is None or item.dtype.kind != "f" or not 1 <= len(item.shape) <= DIMENSIONS_LIMIT:
        return False
    creation = item.id.get_create_plist()
    filters = {creation.get_filter(index)[0] for index in range(creation.get_nfilters())}
    if not filters <= FILTERS:
        raise _Refused(f"is refused: {printable(path)[:80]} is compressed in an unknown way")
    if item.chunks is not None and math.prod(item.chunks) * item.dtype.itemsize > CHUNK_LIMIT:
        raise _Refused(f"is refused: {printable(path)[:80]} is stored in chunks of more than {CHUNK_LIMIT:,} bytes")
    return True
