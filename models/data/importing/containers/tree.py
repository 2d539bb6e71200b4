"""A tree of files to read: a folder, a zip archive or a tar archive. Nothing is written under the names of the tree.

Archives are refused if an entry is a link, a device or encrypted, has a name that leaves the archive, or a name twice.
Links in a folder are not followed, except the folder itself.
"""

import errno
import os
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from models.bounded_reading import FileTooLarge, FileUnreadable, file_size, printable, read_bounded
from models.data.importing.items import InvalidImages, Limits
from models.data.importing.names import is_skipped, listing
from models.data.importing.sources import DataFile, sentences

DEPTH = 12  # folders within folders
PIECE = 1 << 20  # bytes copied per step


class Entry(NamedTuple):
    """A regular file of a tree."""

    folder: tuple[str, ...]
    name: str
    size: int  # bytes, unpacked
    handle: Any  # what the container needs to read it

    @property
    def path(self) -> str:
        """The name with its folders; not printable."""
        return "/".join((*self.folder, self.name))


@dataclass
class Tree:
    """The files and folders of a container, without hidden ones, in any order."""

    files: list[Entry] = field(default_factory=list)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    links: list[str] = field(default_factory=list)  # not followed
    entries: int = 0
    unpacked: int = 0  # bytes

    def count(self, place: str, limits: Limits, size: int = 0) -> None:
        """Count an entry, also a hidden one. Raises InvalidImages if there are too many or they are too large."""
        self.entries += 1
        self.unpacked += size
        if self.entries > limits.entries:
            raise InvalidImages(f"{place} has more than {limits.entries:,} files and folders")
        if self.unpacked > limits.unpacked:
            raise InvalidImages(f"{place} has files of more than {limits.unpacked:,} bytes, unpacked")


class Container(Protocol):
    """A tree, and how to read its files."""

    name: str  # printable
    tree: Tree

    def read(self, entry: Entry, limit: int) -> bytes:
        """Return the content of a file of at most `limit` bytes. Raises InvalidImages or FileFault."""

    def head(self, entry: Entry, length: int) -> bytes:
        """Return the first bytes of a file."""

    def open(self, entry: Entry) -> AbstractContextManager[BinaryIO]:
        """Open a file at its beginning; it is seekable."""


class Folder:
    """A folder of the file system."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.name = printable(path.name or path)
        self.tree = Tree()
        pending: list[tuple[str, ...]] = [()]
        while pending:
            folder = pending.pop()
            self.tree.folders.add(folder)
            pending += self._add(folder, limits)

    def _add(self, folder: tuple[str, ...], limits: Limits) -> Iterator[tuple[str, ...]]:
        """Add the files of a folder, and yield its subfolders."""
        place = self.path.joinpath(*folder)
        with sentences(str(place)), os.scandir(place) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                self.tree.count(self.name, limits, status.st_size * stat.S_ISREG(status.st_mode))
                if is_skipped(entry.name):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    yield inside((*folder, entry.name), self.name)
                elif stat.S_ISREG(status.st_mode):
                    self.tree.files.append(Entry(folder, entry.name, status.st_size, None))
                else:
                    self.tree.links.append("/".join((*folder, entry.name)))

    def _path(self, entry: Entry) -> Path:
        return self.path.joinpath(*entry.folder, entry.name)

    def read(self, entry: Entry, limit: int) -> bytes:
        """Return the content of a file of at most `limit` bytes."""
        try:
            return read_bounded(self._path(entry), limit)
        except FileTooLarge as error:
            raise InvalidImages(str(error)) from error

    def head(self, entry: Entry, length: int) -> bytes:
        """Return the first bytes of a file."""
        with self.open(entry) as file:
            return file.read(length)

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        """Open a file at its beginning."""
        with open_regular(self._path(entry)) as file:
            yield file


def link_notes(container: Container) -> list[str]:
    """Return a printable sentence about the links of a container, if it has any."""
    links = container.tree.links
    if not links:
        return []
    return [f"{len(links):,} links or devices in {container.name} were skipped: {listing(links)}"]


def inside(parts: tuple[str, ...], place: str) -> tuple[str, ...]:
    """Return the names of a path in a tree. Raises InvalidImages if the path leaves the tree or is too deep."""
    if any(part == ".." or "\0" in part for part in parts):
        raise InvalidImages(f"{place} has an entry with a name that leaves the archive: {printable('/'.join(parts))}")
    if len(parts) > DEPTH:
        raise InvalidImages(f"{place} has folders within folders, deeper than {DEPTH}: {printable('/'.join(parts))}")
    return parts


def archive_path(name: str, place: str) -> tuple[str, ...]:
    """Return the names of an archive entry's path. Raises InvalidImages if it is absolute, or leaves the archive.

    Backslashes separate folders too, because some programs of Windows write them.
    """
    name = name.replace("\\", "/")
    if name.startswith("/") or name[1:3] in (":", ":/"):
        raise InvalidImages(f"{place} has an entry with an absolute name: {printable(name)}")
    return inside(tuple(part for part in name.split("/") if part not in ("", ".")), place)


class Members:
    """Builds the tree of an archive from its entries."""

    def __init__(self, place: str, limits: Limits) -> None:
        self.tree = Tree()
        self.place, self.limits = place, limits
        self.seen = set[tuple[str, ...]]()

    def add_folder(self, name: str) -> None:
        """Add a folder; an archive may name it several times."""
        self.tree.count(self.place, self.limits)
        path = archive_path(name, self.place)
        if not any(map(is_skipped, path)):
            self._add_folders(path)

    def add_file(self, name: str, size: int, handle: Any) -> None:
        """Add a file. Raises InvalidImages if its name was added before."""
        self.tree.count(self.place, self.limits, size)
        path = archive_path(name, self.place)
        if path in self.seen or not path:
            raise InvalidImages(f"{self.place} has an entry twice: {printable(name)}")
        self.seen.add(path)
        if not any(map(is_skipped, path)):
            self._add_folders(path[:-1])
            self.tree.files.append(Entry(path[:-1], path[-1], size, handle))

    def refuse(self, name: str, reason: str) -> None:
        """Raises InvalidImages."""
        raise InvalidImages(f"{self.place} has an entry that {reason}: {printable(name)}")

    def _add_folders(self, path: tuple[str, ...]) -> None:
        while path not in self.tree.folders:
            self.tree.folders.add(path)
            path = path[:-1]


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file. Raises FileFault for anything else, without blocking."""
    file_size(path)
    with sentences(str(path)):
        file = path.open("rb")
    with file:
        yield file


class Archive(ABC):
    """Opens files of an archive that is read entry by entry. Temporary copies are deleted when the stack is closed."""

    def __init__(self, name: str, scratch: Path | None, stack: ExitStack) -> None:
        """`name` is printable."""
        self.name, self.scratch, self.stack = name, scratch, stack
        self.spooled = dict[str, BinaryIO]()

    @abstractmethod
    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content of a file, PIECE bytes at most at a time. Raises InvalidImages or FileFault."""

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        """Copy a file to a temporary one. It is copied once, so only one at a time may read it."""
        if entry.path not in self.spooled:
            copy = spool(self.pieces(entry), f"{self.name}/{entry.path}", entry.size, self.scratch, self.stack)
            self.spooled[entry.path] = copy
        file = self.spooled[entry.path]
        file.seek(0)
        yield file


def spool(pieces: Iterator[bytes], name: str, limit: int, scratch: Path | None, stack: ExitStack) -> BinaryIO:
    """Write to a temporary file that is deleted when the stack is closed. Raises InvalidImages or FileUnreadable."""
    try:
        file = stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > limit:
                raise InvalidImages(f"{printable(name)} unpacks to more than {limit:,} bytes")
            file.write(piece)
        file.seek(0)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT):
            reason = f"cannot be unpacked to a temporary file: {error.strerror}"
            raise FileUnreadable(f"{printable(name)} {reason}") from error
        raise
    return cast("BinaryIO", file)


def data_file(container: Container, entry: Entry) -> DataFile:
    """Return a file of a container as a file of rows."""
    return DataFile(entry.path, entry.folder, entry.size, lambda: container.open(entry))


def single_file(path: Path) -> DataFile:
    """Return a file that the user named. Raises FileFault."""
    size = file_size(path)
    return DataFile(path.name, (path.parent.name,), size, lambda: open_regular(path))
