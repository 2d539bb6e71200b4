"""Files on their way into a folder: each is checked as it comes, and there once it is whole."""

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

SLOWEST = 10_000  # bytes a second
PATIENCE_SECONDS = 300.0
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def files_of(manifest: DatasetManifest) -> Mapping[str, DatasetFile]:
    """Return the files that a server names, if a data set of ours can have them. Raises NotUnderstood."""
    try:
        return check_files(manifest)
    except InvalidFiles as error:
        raise NotUnderstood(f"the manifest of the data set names what no data set has: {error}") from None


def is_whole(path: Path, record: DatasetFile) -> bool:
    """Whether the file lies there already, to the last bit."""
    if not path.is_file() or path.stat().st_size != record.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


class Arrival:
    """What has come of a file so far, in a new file beside its place."""

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
        """Prepare for the bytes of this answer: at most those that the record says, and not too slowly."""
        self._body = Body(response, self.record.size, self.seconds, keeps=False)

    def take(self, data: bytes) -> None:
        """Raises NotUnderstood as soon as there is too much, Unreachable if it takes too long."""
        assert self._body is not None
        self._body.take(data)
        self.sha256.update(data)
        self.file.write(data)


@contextmanager
def arriving(path: Path, record: DatasetFile) -> Iterator[Arrival]:
    """Take a file piece by piece; it is there when the block ends, and nothing of it is if the block fails.

    A link at its place is replaced, and never written through. Raises NotUnderstood if the file came damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrival = Arrival(path, record)
    try:
        with arrival.file:
            yield arrival
        if arrival.sha256.hexdigest() != record.sha256:
            raise NotUnderstood(f"{path.name} came damaged: ask for it again")
        arrival.so_far.replace(path)
    finally:
        with suppress(OSError):
            arrival.so_far.unlink(missing_ok=True)
