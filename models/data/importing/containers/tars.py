"""Reads tar archives, plain or compressed with gzip, bzip2 or xz.

A compressed one is unpacked to one temporary file, so that its entries can be read in any order, and a damaged or cut
archive is found before its first image is used.
"""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from models.bounded_reading import GZIP, printable
from models.data.importing.containers.tree import PIECE, Archive, Entry, Members, spool
from models.data.importing.items import InvalidImages, Limits
from models.data.importing.sources import sentences

BZIP2, XZ = b"BZh", b"\xfd7zXZ\x00"
MAGIC, MAGIC_PLACE = b"ustar", 257
BLOCK = 512
HEADER = 1 << 16  # bytes of names and other fields of an entry, which `tarfile` reads at once
XZ_MEMORY = 96 << 20  # bytes; xz -9 needs 65 MiB to unpack
INPUT = 1 << 16
SUFFIXES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz")


def is_tar(head: bytes, name: str) -> bool:
    """Return whether the first unpacked bytes are those of a tar archive. Old ones are recognised by name only."""
    old = name.lower().endswith(SUFFIXES) or ".tar." in name.lower()
    return head[MAGIC_PLACE : MAGIC_PLACE + 5] == MAGIC or (old and len(head) >= BLOCK)


def unpacked(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    """Yield what a file compressed with gzip, bzip2 or xz contains, PIECE bytes at most at a time.

    Raises what the libraries raise if it is damaged or cut off.
    """
    if head.startswith(GZIP):
        with gzip.GzipFile(fileobj=file) as stream:
            while piece := stream.read(PIECE):
                yield piece
        return
    if head.startswith(BZIP2):
        yield from _streams(file, bz2.BZ2Decompressor)
    else:
        yield from _streams(file, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY))


def _streams(
    file: BinaryIO, decompressor: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
) -> Iterator[bytes]:
    """Yield the content of one or more streams, one after the other; zeros after them are padding."""
    stream, data = decompressor(), file.read(INPUT)
    while True:
        if piece := stream.decompress(data, PIECE):
            yield piece
        if stream.eof:
            data = (stream.unused_data or file.read(INPUT)).lstrip(b"\0")
            if not data:
                return
            stream = decompressor()
        else:
            data = file.read(INPUT) if stream.needs_input else b""
            if stream.needs_input and not data:
                raise EOFError("its compressed data is not complete")


class BoundedReads:
    """A file for `tarfile`, which reads as many bytes of a header at once as the archive says."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file, self.name = file, name
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """Read at most HEADER bytes. Raises InvalidImages if more are requested."""
        if not 0 <= size <= HEADER:
            raise InvalidImages(f"{self.name} has an entry with a header of more than {HEADER:,} bytes")
        return self.file.read(size)


class Tar(Archive):
    """A tar archive as a tree."""

    def __init__(self, path: Path, head: bytes, limits: Limits, scratch: Path | None, stack: ExitStack) -> None:
        super().__init__(printable(path.name), scratch, stack)
        with sentences(self.name):
            self.file: BinaryIO = stack.enter_context(path.open("rb"))
            if head.startswith((GZIP, BZIP2, XZ)):
                limit = limits.unpacked + (limits.entries + 2) * 2 * BLOCK
                self.file = spool(unpacked(self.file, head), self.name, limit, scratch, stack)
            if not is_tar(self.file.read(BLOCK), path.name):
                raise InvalidImages(f"{self.name} is not an archive of images: it has no tar archive in it")
            members = Members(self.name, limits)
            self._add_all(members)
        self.tree = members.tree

    def _add_all(self, members: Members) -> None:
        """Add all entries. Raises InvalidImages if one is of a kind that is not read, or the archive has no end."""
        self.file.seek(0)
        with tarfile.open(fileobj=BoundedReads(self.file, self.name), mode="r:") as archive:  # type: ignore[call-overload]
            while info := archive.next():
                _add(info, members)
                archive.members.clear()  # or all are kept
            self.file.seek(archive.offset)
        if self.file.read(BLOCK) != bytes(BLOCK):
            raise InvalidImages(f"{self.name} is damaged or cut off: its end is missing")

    def read(self, entry: Entry, limit: int) -> bytes:
        """Return the content of a file of at most `limit` bytes."""
        if entry.size > limit:
            raise InvalidImages(f"{printable(entry.path)} has {entry.size:,} bytes, and at most {limit:,} are allowed")
        data = self.head(entry, entry.size)
        if len(data) < entry.size:
            raise InvalidImages(f"{self.name} is cut off within {printable(entry.path)}")
        return data

    def head(self, entry: Entry, length: int) -> bytes:
        """Return the first bytes of a file."""
        with sentences(f"{self.name}/{entry.path}"):
            self.file.seek(entry.handle)
            return self.file.read(min(length, entry.size))

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        with sentences(f"{self.name}/{entry.path}"):
            for at in range(0, entry.size, PIECE):
                self.file.seek(entry.handle + at)
                yield self.file.read(min(PIECE, entry.size - at))


def _add(info: tarfile.TarInfo, members: Members) -> None:
    if info.isdir():
        members.add_folder(info.name)
    elif not info.isreg() or info.issparse():
        members.refuse(info.name, "is a link or a device, not a file")
    else:
        members.add_file(info.name, info.size, info.offset_data)
