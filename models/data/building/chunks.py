"""Decoded images on disk, so that an import that was killed continues: a folder for each source and its options.

    <parent>/<key>/lock             held while the images are decoded, and while the folder is deleted
    <parent>/<key>/00000512.chunk   the images of the items from number 512: a line of JSON, then 784 bytes each

A chunk is written atomically, and is ignored if it is damaged.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from models.atomic_files import clock_of, create_in, write_durably
from models.bounded_reading import FileDamaged
from models.config import IMAGE_SIZE
from models.errors import Conflict
from models.file_locks import is_at, try_lock

SUFFIX = ".chunk"
LOCK = "lock"
OLD_SECONDS = 7 * 24 * 3600  # a folder that was not used for this time is deleted by the next import
SHAPE = (-1, IMAGE_SIZE, IMAGE_SIZE)


class ImportRunning(Conflict, code="import-running"):
    """Another process builds training data from the same source."""


class Header(BaseModel):
    model_config = ConfigDict(frozen=True)

    first: int
    size: int
    labels: list[str]
    splits: list[str | None]
    skipped: list[tuple[str, str]]
    sha256: str


class Chunk(NamedTuple):
    """Items `first` to `first + size - 1` of a source. Labels and splits are those of the images."""

    first: int
    size: int  # number of items, including those that were skipped
    images: np.ndarray  # uint8 (N, 28, 28)
    labels: list[str]
    splits: list[str | None]
    skipped: list[tuple[str, str]]  # name and reason


class ChunkFolder:
    """The chunks of one source. Use `locked` to create it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self) -> dict[int, int]:
        """Return the number of items of each complete chunk, by its first item. Deletes damaged chunks."""
        found = {}
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                chunk = _parse(path.read_bytes(), path)
            except FileDamaged:
                path.unlink()
                continue
            found[chunk.first] = chunk.size
        return found

    def write(self, chunk: Chunk) -> None:
        """Raises OSError, for example if the disk is full; then no part of the chunk is left."""
        pixels = chunk.images.tobytes()
        fields: dict[str, Any] = chunk._asdict() | {"sha256": hashlib.sha256(pixels).hexdigest()}
        del fields["images"]
        header = json.dumps(fields).encode()
        write_durably(self.folder / f"{chunk.first:08}{SUFFIX}", header + b"\n" + pixels)

    def read(self) -> Iterator[Chunk]:
        """Yield all chunks in the order of the items. Raises FileDamaged, OSError."""
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            yield _parse(path.read_bytes(), path)


def _parse(data: bytes, path: Path) -> Chunk:
    line, _, pixels = data.partition(b"\n")
    try:
        header = Header.model_validate_json(line)
        if hashlib.sha256(pixels).hexdigest() != header.sha256:
            raise ValueError("the checksum differs")
        images = np.frombuffer(pixels, np.uint8).reshape(SHAPE)
        counts = {len(images), len(header.labels), len(header.splits), header.size - len(header.skipped)}
        if len(counts) > 1:
            raise ValueError("its parts do not match")
    except (ValidationError, ValueError) as error:
        raise FileDamaged(f"{path} is damaged: import the images again") from error
    return Chunk(header.first, header.size, images, header.labels, header.splits, header.skipped)


@contextmanager
def locked(parent: Path, key: str) -> Iterator[ChunkFolder]:
    """Create or continue the folder of a source, and keep other processes out of it. Raises ImportRunning, OSError."""
    folder = parent / key
    descriptor = create_in(folder, lambda: _lock(folder), mode=0o700)
    if descriptor is None:
        raise ImportRunning("another process imports the same images at the moment: wait until it has ended")
    try:
        remove_old(parent, keep=key)
        for leftover in folder.glob(".*"):  # temporary files of a killed process
            leftover.unlink()
        os.utime(folder)
        yield ChunkFolder(folder)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Open and take the lock of a folder. Returns None if another process has it.

    Raises OSError; FileNotFoundError if there is no folder, also if another process has just deleted it.
    """
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        if not try_lock(descriptor):
            return None
        if not is_at(path, descriptor):
            raise FileNotFoundError(f"{path} was deleted")
        stack.pop_all()
    return descriptor


def remove_old(parent: Path, keep: str) -> None:
    """Delete the folders of imports that were not continued for a week. Ignores errors."""

    now = clock_of(parent)

    def is_old(folder: Path) -> bool:
        return now - folder.stat().st_mtime > OLD_SECONDS

    with suppress(OSError):
        for folder in parent.iterdir():
            with suppress(OSError):
                if folder.name != keep and is_old(folder):
                    _delete(folder, is_old)  # another process may continue it meanwhile


def remove_chunks(folder: Path) -> None:
    """Delete the chunks of a source, because its training data are stored. Ignores errors.

    They stay if another process builds training data from them: it deletes them itself, or `remove_old` does.
    """
    with suppress(OSError):
        _delete(folder, lambda _: True)


def _delete(folder: Path, is_unneeded: Callable[[Path], bool]) -> None:
    """Delete a folder of chunks unless another process has its lock. `is_unneeded` decides under the lock.

    The lock is deleted last: a process that takes it earlier is refused, and one that takes it later finds no chunk.
    Raises OSError.
    """
    lock, is_left = folder / LOCK, False
    descriptor = _lock(folder)
    if descriptor is None:
        return
    try:
        if not is_unneeded(folder):
            return
        for path in folder.iterdir():
            if path != lock:
                path.unlink()
        try:
            lock.unlink()
        except PermissionError:  # Windows deletes no open file
            is_left = True
    finally:
        os.close(descriptor)
    if is_left:
        lock.unlink()
    folder.rmdir()
