"""Reads zip archives: at most as many entries and bytes as allowed, and only what every program writes.

The table of contents is measured before it is parsed, because `zipfile` reads all of it. Only stored and deflated
entries are read: `zipfile` bounds the memory for these, but not for bzip2 and LZMA.
"""

import stat
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from models.bounded_reading import printable
from models.data.importing.containers.tree import PIECE, Archive, Entry, Members
from models.data.importing.items import InvalidImages, Limits
from models.data.importing.sources import sentences

END, END_SIZE = b"PK\5\6", 22
END_64, LOCATOR_64 = b"PK\6\6", b"PK\6\7"
HEADER, HEADER_SIZE = b"PK\1\2", 46
COMMENT = 1 << 16  # bytes at most
NAME = 256  # bytes of the table of contents per entry, beyond which it is refused
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
UTF_8 = 0x800
ENCRYPTED = 0x1


def open_archive(file: BinaryIO, name: str, limits: Limits) -> zipfile.ZipFile:
    """Parse the table of contents after measuring it. Raises InvalidImages."""
    with sentences(name):
        _check_directory(file, name, limits.entries)
        file.seek(0)
        return zipfile.ZipFile(file)


def _check_directory(file: BinaryIO, name: str, limit: int) -> None:
    """Raises InvalidImages if the table of contents has more than `limit` entries."""
    size = file.seek(0, 2)
    start = max(size - COMMENT - END_SIZE - 20, 0)  # with the 20 bytes of a locator before it
    file.seek(start)
    tail = file.read()
    end = tail.rfind(END, 0, max(len(tail) - END_SIZE + len(END), 0))
    if end < 0:
        raise InvalidImages(f"{printable(name)} is a damaged zip archive, or cut off: its table of contents is missing")
    length, place = int.from_bytes(tail[end + 12 : end + 16], "little"), start + end
    if end >= 20 and tail[end - 20 : end - 16] == LOCATOR_64:
        place -= 20 + 56
        file.seek(max(place, 0))
        record = file.read(56)
        if not record.startswith(END_64):
            raise InvalidImages(f"{printable(name)} has a table of contents that is not understood")
        length = int.from_bytes(record[40:48], "little")
    if length > min(limit * NAME, place):
        raise InvalidImages(f"{printable(name)} has more than {limit:,} files and folders, or is damaged")
    file.seek(place - length)
    directory = file.read(length)
    entries = at = 0
    while directory[at : at + 4] == HEADER and at + HEADER_SIZE <= length:
        at += HEADER_SIZE + sum(int.from_bytes(directory[at + part : at + part + 2], "little") for part in (28, 30, 32))
        entries += 1
        if entries > limit:
            raise InvalidImages(f"{printable(name)} has more than {limit:,} files and folders")


class Zip(Archive):
    """A zip archive as a tree."""

    def __init__(self, path: Path, limits: Limits, scratch: Path | None, stack: ExitStack) -> None:
        super().__init__(printable(path.name), scratch, stack)
        self.limits = limits
        with sentences(self.name):
            file = stack.enter_context(path.open("rb"))
        self.archive = stack.enter_context(open_archive(file, self.name, limits))
        members = Members(self.name, limits)
        for info in self.archive.infolist():
            _add(info, members)
        self.tree = members.tree

    def read(self, entry: Entry, limit: int) -> bytes:
        """Return the content of a file of at most `limit` bytes."""
        data = self.head(entry, limit + 1)
        if len(data) > limit:
            raise InvalidImages(f"{printable(entry.path)} has more than {limit:,} bytes")
        return data

    def head(self, entry: Entry, length: int) -> bytes:
        """Return the first bytes of a file."""
        with sentences(f"{self.name}/{entry.path}"), self.archive.open(entry.handle) as member:
            return member.read(length)

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        with sentences(f"{self.name}/{entry.path}"), self.archive.open(entry.handle) as member:
            while piece := member.read(PIECE):
                yield piece


def _add(info: zipfile.ZipInfo, members: Members) -> None:
    """Add an entry. Raises InvalidImages if it is of a kind that is not read."""
    name = _name(info)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        members.refuse(name, "is a link or a device, not a file")
    if info.is_dir():
        members.add_folder(name)
        return
    if info.flag_bits & ENCRYPTED:
        members.refuse(name, "is encrypted")
    if info.compress_type not in METHODS:
        members.refuse(name, "is compressed in a way that is not read (only deflate is)")
    members.add_file(name, info.file_size, info)


def _name(info: zipfile.ZipInfo) -> str:
    """Return the name of an entry. Many programs write UTF-8 without the flag that declares it."""
    if info.flag_bits & UTF_8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except ValueError:
        return info.orig_filename
