"""What all readers share: the opened source, files with rows, errors of libraries as sentences."""

import errno
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from models.bounded_reading import GZIP, FileFault, FileUnreadable, printable
from models.data.importing.items import InvalidImages, Item, Limits
from models.data.importing.names import settled

DAMAGED = (
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


@contextmanager
def sentences(name: str) -> Iterator[None]:
    """Raises InvalidImages for what libraries raise on damaged data, and FileUnreadable if the system fails."""
    try:
        yield
    except FileFault:
        raise
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # not from the system: BadGzipFile, bz2, seek to a wrong place
            raise InvalidImages(f"{printable(name)} is damaged or cut off: {_reason(error)}") from error
        raise FileUnreadable(f"{printable(name)} cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise InvalidImages(f"{printable(name)} needs more memory than is allowed") from error
    except DAMAGED as error:
        raise InvalidImages(f"{printable(name)} is damaged or cut off: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return printable((str(error).splitlines() or [""])[0][:200]) or type(error).__name__


class DataFile(NamedTuple):
    """A file of rows: one in a folder, or a member of an archive."""

    name: str  # as the source names it; not printable
    folder: tuple[str, ...]  # names of the folders in the source that it is in
    size: int  # bytes
    open: Callable[[], AbstractContextManager[BinaryIO]]  # at its beginning; seekable

    @property
    def shown(self) -> str:
        """The printable name."""
        return printable(self.name)

    def head(self, length: int) -> bytes:
        """Return the first bytes."""
        with sentences(self.name), self.open() as file:
            return file.read(length)

    @contextmanager
    def open_plain(self) -> Iterator[BinaryIO]:
        """Open the file, unpacked if it is gzipped, at its beginning."""
        with self.open() as file:
            is_packed = file.read(2) == GZIP
            file.seek(0)
            yield gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[misc]


class Part(NamedTuple):
    """The rows of one file, or of a pair of files."""

    kind: str  # "CSV", "IDX", "npz" or "parquet"
    name: str  # printable
    split: str | None  # as in names.SPLITS
    length: int | None  # rows, if it is known
    rows: Callable[[int], Iterator[Item]]  # from a row's number; their split is not set
    class_names: tuple[str, ...] | None = None


@dataclass
class OpenedSource:
    """A source whose names and structure were checked (items.Source)."""

    description: str
    count: int | None
    read: Callable[[int], Iterator[Item]]
    limits: Limits
    class_names: tuple[str, ...] | None = None
    empty_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stack: ExitStack = field(default_factory=ExitStack)

    def items(self, start: int = 0) -> Iterator[Item]:
        """Yield the items from number `start`. Raises InvalidImages also if there are too many images or classes."""
        classes = set[str]()
        for number, item in enumerate(self.read(start), start + 1):
            if number > self.limits.images:
                raise InvalidImages(f"{self.description} has more than {self.limits.images:,} images")
            classes.add(item.label)
            check_classes(len(classes), self.description, self.limits)
            yield item

    def close(self) -> None:
        """Close files, and delete temporary files."""
        self.stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_classes(count: int, description: str, limits: Limits) -> None:
    """Raises InvalidImages if there are too many classes."""
    if count > limits.classes:
        raise InvalidImages(f"{description} has more than {limits.classes} classes")


def of_parts(parts: list[Part], place: str, limits: Limits, notes: tuple[str, ...] = ()) -> OpenedSource:
    """Return a source of the rows of files, one file after the other. Raises InvalidImages."""
    names = {part.class_names for part in parts}
    if len(names) > 1:
        raise InvalidImages(f"{parts[0].name} and the other files of {place} do not name the same classes")
    splits = settled([part.split for part in parts])
    counts = [part.length for part in parts]
    count = None if None in counts else sum(filter(None, counts))
    files = parts[0].name if len(parts) == 1 else f"{len(parts)} parts in {place}"
    description = f"{parts[0].kind}: {files}"
    if count is not None and count > limits.images:
        raise InvalidImages(f"{description} has {count:,} images, and at most {limits.images:,} are allowed")
    class_names = names.pop()
    check_classes(len(class_names or ()), description, limits)

    def read(start: int) -> Iterator[Item]:
        left = start
        for part in parts:
            if part.length is None:
                rows = part.rows(0)
            elif left < part.length:
                rows, left = part.rows(left), 0
            else:
                rows, left = iter(()), left - part.length
            for item in rows:
                if left:
                    left -= 1
                else:
                    yield item._replace(split=splits[part.split])

    return OpenedSource(description, count, read, limits, class_names, notes=notes)
