"""Files on their way into a folder: each is checked as it comes, and there once it is whole."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.client.calls import NotUnderstood
from models.datasets import DatasetFile


def is_whole(path: Path, record: DatasetFile) -> bool:
    """Whether the file lies there already, to the last bit."""
    if not path.is_file() or path.stat().st_size != record.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


class Arrival:
    """What has come of a file so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.so_far = path.with_name(f".{path.name}.part")
        self.sha256 = hashlib.sha256()
        self.file = self.so_far.open("wb")

    def take(self, data: bytes) -> None:
        self.sha256.update(data)
        self.file.write(data)


@contextmanager
def arriving(path: Path, record: DatasetFile) -> Iterator[Arrival]:
    """Take a file piece by piece; it is there when the block ends. Raises NotUnderstood where it came damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrival = Arrival(path)
    try:
        with arrival.file:
            yield arrival
        if arrival.sha256.hexdigest() != record.sha256:
            raise NotUnderstood(f"{path.name} came damaged: ask for it again")
        arrival.so_far.replace(path)
    finally:
        arrival.so_far.unlink(missing_ok=True)
