"""Finds IDX files in a folder by their content, because names, compression and layout differ between sources.

Recognises IDX files and NumPy arrays, plain, gzipped up to three times, or in a zip archive (such as Keras' mnist.npz),
in the folder or up to three levels below it (torchvision: MNIST/raw/). Verifies SHA-256: of the plain file, of the
gzip file as published, or of the archive that it is in. A file of which no digest is known needs its published name.
"""

import functools
import hashlib
import io
import itertools
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from models.bounded_reading import (
    GZIP,
    ZIP,
    FileFault,
    FileTooLarge,
    foreign_kind,
    gunzip_bounded,
    gunzip_head,
    printable,
    read_bounded,
    read_head,
)
from models.data.catalog import DATASETS, Archive, IdxFile
from models.data.idx import ArrayHeader, idx_header, idx_header_of
from models.data.idx_archive import is_archive, read_members, zip_faults

UNPACKED_LIMIT = 48_100_000  # bytes; a file of 60,000 images has 47,040,016, and gzip adds less than the margin
MARGIN = 1.0225  # the same for files of more images
ARCHIVE_LIMIT = 64_000_000  # bytes; mnist.npz has 11.5 million, and 54.9 million if it is not compressed
DIRECTORY_LIMIT = 1 << 16  # bytes of an archive's table of contents: a few hundred members
HEAD_SIZE = 8192  # bytes; enough for an IDX or NumPy header inside three layers of gzip
LAYERS = 3
LEVELS = 3  # of subfolders that are searched
ENTRIES = 10_000  # files and folders that are searched
NPY = b"\x93NUMPY"
SKIPPED = ("lost+found", "System Volume Information")  # folders in empty volumes


@dataclass
class Search:
    """The content of a folder: the wanted files by name, and every other file with its kind."""

    found: dict[str, bytes] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)  # others with the shape of a wanted file, but unknown content
    unverified: list[str] = field(default_factory=list)  # found by name and shape, because no digest is known
    entries: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the folder and its subfolders contain no file."""
        return not self.found and not self.others

    def describe(self, most: int = 6) -> str:
        """List the other files in one line, those of a known kind first; at most `most` are named."""
        listed = sorted(self.others.items(), key=lambda item: not item[1])
        texts = [f"{name} ({kind})" if kind else name for name, kind in listed[:most]]
        more = [f"{len(listed) - most} more"] if len(listed) > most else []
        return ", ".join(texts + more)


class Candidate(NamedTuple):
    head: bytes
    read: Callable[[], bytes]


def unpacked_limit(wanted: Mapping[str, IdxFile]) -> int:
    """Return the number of bytes that the largest wanted file may have."""
    return max(UNPACKED_LIMIT, *(int(MARGIN * math.prod(file.shape)) for file in wanted.values()))


def search_folder(folder: Path, wanted: Mapping[str, IdxFile], archive: Archive | None = None) -> Search:
    """Find the wanted files in a folder and its subfolders, until all are found.

    If the folder has `archive`, which is recognised by its checksum, the files come from it. Hidden files are skipped.
    Raises OSError if the folder itself cannot be listed.
    """
    search, limit = Search(), unpacked_limit(wanted)
    for path in _files(folder, search):
        name = printable(path.relative_to(folder))
        try:
            if archive is not None and is_archive(path, archive):
                members = read_members(path, wanted, limit)
                search.found = {known: gunzip_bounded(data, limit, known) for known, data in members.items()}
                search.unverified.clear()
                break
            for member, candidate in _candidates(path, limit):
                _examine(candidate, f"{name}{member}", wanted, search, limit)
        except FileFault as error:
            search.others[name] = str(error).removeprefix(f"{printable(path)} ").removeprefix(f"{name} ")
        if len(search.found) == len(wanted):
            break
    return search


def _files(folder: Path, search: Search) -> Iterator[Path]:
    """Yield files level by level, each folder's sorted by name, until ENTRIES were searched."""
    level = [folder]
    for _ in range(LEVELS + 1):
        below = list[Path]()
        for parent in level:
            for entry in _entries(parent, folder, search):
                if _is_folder(entry):
                    below.append(parent / entry.name)
                else:
                    yield parent / entry.name
        level = below


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to a folder without access permission
        return False


def _entries(parent: Path, folder: Path, search: Search) -> list[os.DirEntry[str]]:
    left = ENTRIES - search.entries
    try:
        entries = list(itertools.islice(os.scandir(parent), left))
    except OSError as error:
        if parent == folder:
            raise
        search.others[f"{printable(parent.relative_to(folder))}/"] = f"cannot be read: {error.strerror}"
        return []
    search.entries += len(entries)
    if entries and len(entries) == left:
        search.others["..."] = f"only {ENTRIES:,} files were searched"
    shown = (entry for entry in entries if not entry.name.startswith(".") and entry.name not in SKIPPED)
    return sorted(shown, key=lambda entry: entry.name)


# ----------------------------------------------------------------------------
# The content of a file.


def _examine(candidate: Candidate, name: str, wanted: Mapping[str, IdxFile], search: Search, limit: int) -> None:
    """Add a file to `found` or `others`. Reads only its head, unless its shape is wanted."""
    head, layers = candidate.head, 0
    while head.startswith(GZIP) and layers < LAYERS:
        head, layers = gunzip_head(head, HEAD_SIZE), layers + 1
    array = _array_header(head)
    if array is None:
        search.others[name] = foreign_kind(candidate.head) or "" if not layers else "gzip of something else, or damaged"
        return
    matching = [known for known, file in wanted.items() if file.shape == array.shape]
    if not matching:
        search.others[name] = f"bytes of another shape, {array.shape}"
    elif matching[0] not in search.found:
        data, packed = candidate.read(), list[str]()
        for _ in range(layers):
            packed.append(hashlib.sha256(data).hexdigest())
            data = gunzip_bounded(data, limit, name)
        plain = idx_header(array.shape) + data[array.start :]
        digests = [hashlib.sha256(plain).hexdigest(), *packed]
        file = wanted[matching[0]]
        if file.sha256 in digests or file.packed_sha256 in digests:
            search.found[matching[0]] = plain
        elif file.sha256 is None and file.packed_sha256 is None and _is_named(name, matching[0]):
            search.found[matching[0]] = plain
            search.unverified.append(name)
        else:
            search.others[name] = _why_not(array.shape, digests, matching[0], file, search, name)


def _is_named(name: str, known: str) -> bool:
    """Whether a file has the published name, perhaps with `.gz`, or `.idx` instead of `-idx`."""
    base = name.rpartition("/")[2].removesuffix(".gz")
    return base.replace(".idx", "-idx") == known


def _why_not(shape: tuple[int, ...], digests: list[str], known: str, file: IdxFile, search: Search, name: str) -> str:
    """Return why a file with the shape of a wanted one is not that file."""
    if owner := _owner(digests):
        return f"{DATASETS[owner].title}'s: train with `dataset: {owner}`"
    search.unknown.append(name)
    if file.sha256 is not None:
        return f"shape {shape}, but another checksum: other data"
    if file.packed_sha256 is not None:
        return f"shape {shape}, but not the bytes of {known}.gz as published, the only form with a known checksum"
    return f"shape {shape}, but not named {known}: without a known checksum the name is required"


def _owner(digests: list[str]) -> str | None:
    """Return the name of the training data that a file with one of these digests belongs to."""
    for name, data in DATASETS.items():
        if any(digest in (file.sha256, file.packed_sha256) for file in data.files.values() for digest in digests):
            return name
    return None


def _array_header(head: bytes) -> ArrayHeader | None:
    """Parse the header of an IDX file or a NumPy array of unsigned bytes; None for anything else."""
    if (header := idx_header_of(head)) is not None:
        return header
    if not head.startswith(NPY):
        return None
    file = io.BytesIO(head)
    try:
        parse = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, fortran, dtype = parse(file)
    except (ValueError, KeyError):
        return None
    plain = dtype == np.uint8 and (not fortran or len(shape) == 1)
    return ArrayHeader(shape, file.tell()) if plain else None


def _candidates(path: Path, limit: int) -> Iterator[tuple[str, Candidate]]:
    """Yield the file itself, or the members of a zip archive. Raises FileFault."""
    head = read_head(path, HEAD_SIZE)
    if not head.startswith(ZIP):
        yield "", Candidate(head, lambda: read_bounded(path, limit))
        return
    data = read_bounded(path, ARCHIVE_LIMIT)
    with zip_faults(path):
        _check_directory(data)
        archive = zipfile.ZipFile(io.BytesIO(data))
    for info in archive.infolist():
        if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not info.flag_bits & 1:
            read = functools.partial(_read_member, archive, info, path, limit)
            yield f"/{printable(info.filename)}", Candidate(read(HEAD_SIZE), functools.partial(read, limit + 1))


def _check_directory(data: bytes) -> None:
    """Raises BadZipFile if the table of contents is too large. Does not parse it."""
    end = data.rfind(b"PK\5\6")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    if end < 0 or size > DIRECTORY_LIMIT or b"PK\6\7" in data[max(end - 20, 0) : end]:
        raise zipfile.BadZipFile("its table of contents is cut off or too large")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, limit: int, length: int) -> bytes:
    with zip_faults(path), archive.open(info) as member:
        data = member.read(length)
    if len(data) > limit:
        raise FileTooLarge(f"{printable(path)} unpacks to more than {limit:,} bytes")
    return data
