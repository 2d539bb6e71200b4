"""Downloads files into a folder. Each is checked, and appears under its name only when complete."""

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from app.client.answers import Body
from app.client.errors import NotUnderstood
from models.synthesis.order import DatasetFile, DatasetManifest, InvalidFiles, check_files

SLOWEST = 10_000  # bytes per second
PATIENCE_SECONDS = 300.0
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def files_of(manifest: DatasetManifest) -> Mapping[str, DatasetFile]:
    """Return the files of a manifest. Raises NotUnderstood if a data set cannot have them."""
    try:
        return check_files(manifest)
    except InvalidFiles as error:
        raise NotUnderstood(f"the manifest of the data set names files that no data set has: {error}") from None


def is_whole(path: Path, record: DatasetFile) -> bool:
    """Return whether the file exists with the recorded size and SHA-256."""
    if not path.is_file() or path.stat().st_size != record.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


class Arrival:
    """A partial download, in a new file beside the final path."""

    def __init__(self, path: Path, record: DatasetFile) -> None:
        self.path = path
        self.record = record
        self.so_far = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        self.sha256 = hashlib.sha256()
        self.file = os.fdopen(os.open(self.so_far, NEW, 0o666), "wb")
        self._body: Body | None = None

    @property
    def seconds(self) -> float:
        """The time limit for the file."""
        return PATIENCE_SECONDS + self.record.size / SLOWEST

    def expect(self, response: httpx2.Response) -> None:
        """Expect the body of this response: at most the recorded size, within a time limit for that size."""
        self._body = Body(response, self.record.size, self.seconds, keeps=False)

    def take(self, data: bytes) -> None:
        """Append data. Raises NotUnderstood if the file is too large, Unreachable if it takes too long."""
        assert self._body is not None
        self._body.take(data)
        self.sha256.update(data)
        self.file.write(data)


@contextmanager
def arriving(path: Path, record: DatasetFile) -> Iterator[Arrival]:
    """Download a file piece by piece. It exists when the block ends, and no part of it if the block fails.

    A link at its path is replaced, and never written through. Raises NotUnderstood if the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrival = Arrival(path, record)
    try:
        with arrival.file:
            yield arrival
        if arrival.sha256.hexdigest() != record.sha256:
            raise NotUnderstood(f"{path.name} arrived damaged: download it again")
        arrival.so_far.replace(path)
    finally:
        with suppress(OSError):
            arrival.so_far.unlink(missing_ok=True)
