"""What is read of a source: its fingerprint, a sample, and batches of items from a given place."""

import hashlib
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from models.bounded_reading import FileMissing, FileUnreadable, printable
from models.data.building.decoding import Batch
from models.data.importing.items import InvalidImages, Item, Limits, Source
from models.data.importing.names import is_skipped
from models.data.importing.normalise import to_grey

BATCH_ITEMS = 512
BATCH_BYTES = 8 << 20  # a batch ends with the item that exceeds it
SAMPLE = 64  # pictures whose borders are examined
SAMPLE_ROWS = 512  # first rows of a table that the sample is taken from: rows cannot be skipped quickly


def fingerprint(path: Path) -> str:
    """Return a checksum of the place, names, sizes and times of a file, or of all files in a folder that are read.

    Raises FileMissing, FileUnreadable.
    """
    if not path.exists():
        raise FileMissing(f"there is no file or folder {printable(path)}")
    try:
        return _fingerprint(path)
    except OSError as error:
        name = printable(error.filename or path)
        raise FileUnreadable(f"{name} cannot be read: {error.strerror}") from error


def _fingerprint(path: Path) -> str:
    digest = hashlib.sha256(os.fsencode(path.resolve()))
    for name, size, changed in sorted(_files(path)):
        digest.update(os.fsencode(f"{name}\0{size}\0{changed}\0"))
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time in nanoseconds of each file, and the name of each folder.

    Leaves out skipped files, such as acgan's own home in the folder. Size and time of a folder change with these too.
    """
    if not path.is_dir():
        yield "", path.stat().st_size, path.stat().st_mtime_ns
        return
    pending = [path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if is_skipped(entry.name):
                    continue
                name = os.path.relpath(entry.path, path)
                if entry.is_dir(follow_symlinks=False):
                    yield f"{name}/", 0, 0
                    pending.append(Path(entry.path))
                else:
                    status = entry.stat(follow_symlinks=False)
                    yield name, status.st_size, status.st_mtime_ns


def sample(source: Source, limits: Limits) -> list[np.ndarray]:
    """Return some pictures as uint8 grey (H, W): from all parts of a folder or archive, from the first rows of a table.

    Leaves out those that cannot be read. The same source gives the same sample.
    """
    greys = []
    for item in _sampled(source):
        with suppress(InvalidImages):
            greys.append(to_grey(item.content, limits))
    return greys


def _sampled(source: Source) -> Iterator[Item]:
    with closing(_items(source, 0)) as items:
        first = next(items, None)
        if first is None:
            return
        if isinstance(first.content, np.ndarray) or source.count is None:
            for number, item in zip(range(SAMPLE_ROWS), items, strict=False):
                if number % (SAMPLE_ROWS // SAMPLE) == 0:
                    yield item
            return
    for number in range(0, source.count, max(1, source.count // SAMPLE)):
        with closing(_items(source, number)) as items:
            yield next(items)


def _items(source: Source, start: int) -> Generator[Item, None, None]:
    yield from source.items(start)


def batches(source: Source, finished: Mapping[int, int]) -> Iterator[Batch]:
    """Yield all items in batches, except those of finished chunks: number of items by first item."""
    at, is_complete = 0, False
    while not is_complete:
        while count := finished.get(at):
            at += count
        is_complete = True
        for batch in _batches(source, at):
            yield batch
            at += len(batch.items)
            if at in finished:
                is_complete = False
                break


def _batches(source: Source, start: int) -> Iterator[Batch]:
    items, size = list[Item](), 0
    for number, item in enumerate(source.items(start), start + 1):
        items.append(item)
        size += item.content.nbytes if isinstance(item.content, np.ndarray) else len(item.content)
        if len(items) == BATCH_ITEMS or size >= BATCH_BYTES:
            yield Batch(number - len(items), items)
            items, size = [], 0
    if items:
        yield Batch(number - len(items), items)
