"""Downloads the files of a data set. Each is checked, and appears under its name only when complete."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import httpx2

from acgan_client.errors import NotUnderstood, printable
from acgan_client.records import NUM_CLASSES, DatasetFile, DatasetManifest, DatasetOrder
from acgan_client.responses import Body

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20  # bytes; one has 3 KB
MOST = 500_000  # digits of each class
NAME = re.compile(r"(train|t10k)-(images-idx3|labels-idx1|redraws-idx1)-ubyte\.gz")
SHA256 = re.compile(r"[0-9a-f]{64}")
IMAGE_BYTES = 28 * 28 + 3  # of one packed digit: incompressible pixels grow by less than a thousandth
SLOWEST = 10_000  # bytes per second
PATIENCE_SECONDS = 300.0
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def files_of(manifest: DatasetManifest) -> Mapping[str, DatasetFile]:
    """Return the files of a manifest. Raises NotUnderstood for names, sizes or checksums that no data set can have."""
    strange = "the manifest of the data set names files that no data set has"
    for name, file in manifest.files.items():
        match = NAME.fullmatch(name)
        if match is None:
            raise NotUnderstood(f"{strange}: a file {printable(name[:100])!r}")
        if not 0 <= file.size <= file_limit(manifest.order, split=match[1], what=match[2]):
            raise NotUnderstood(f"{strange}: {name} of {file.size:,} bytes")
        if SHA256.fullmatch(file.sha256) is None:
            raise NotUnderstood(f"{strange}: {name} with a checksum that is no SHA-256")
    if not manifest.files:
        raise NotUnderstood(f"{strange}: no files")
    return manifest.files


def file_limit(order: DatasetOrder, split: str, what: str) -> int:
    """Return the largest size in bytes that a file of an order can have, packed; -1 if the order is impossible."""
    n = order.per_class if split == "train" else order.test_per_class
    if not 1 <= n <= MOST:
        return -1
    return 2048 + n * NUM_CLASSES * (IMAGE_BYTES if what == "images-idx3" else 2)


def is_whole(path: Path, record: DatasetFile) -> bool:
    """Return whether the file exists with the recorded size and SHA-256."""
    if not path.is_file() or path.stat().st_size != record.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


def beside(path: Path) -> Path:
    """Return a new hidden name in the same folder, for a file that is not complete."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def open_new(path: Path) -> BinaryIO:
    """Create a file to write. Raises FileExistsError if there is one, or a link."""
    return os.fdopen(os.open(path, NEW, 0o666), "wb")


class Arrival:
    """A partial download, in a new file beside the final path."""

    def __init__(self, path: Path, limit: int) -> None:
        """`limit` is the largest size in bytes."""
        self.path = path
        self.limit = limit
        self.so_far = beside(path)
        self.sha256 = hashlib.sha256()
        self.file = open_new(self.so_far)
        self._body: Body | None = None

    @property
    def seconds(self) -> float:
        """The time limit for the file."""
        return PATIENCE_SECONDS + self.limit / SLOWEST

    def expect(self, response: httpx2.Response) -> None:
        """Expect the body of this response: at most `limit` bytes, within a time limit for that size."""
        self._body = Body(response, self.limit, self.seconds, keeps=False)

    def take(self, data: bytes) -> None:
        """Append data. Raises NotUnderstood if the file is too large, Unreachable if it takes too long."""
        assert self._body is not None
        self._body.take(data)
        self.sha256.update(data)
        self.file.write(data)


@contextmanager
def arriving(path: Path, record: DatasetFile) -> Iterator[Arrival]:
    """Download a file piece by piece. The file exists when the block ends. If the block fails, no part of it remains.

    A link at its path is replaced, and never written through. Raises NotUnderstood if the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrival = Arrival(path, record.size)
    try:
        with arrival.file:
            yield arrival
        if arrival.sha256.hexdigest() != record.sha256:
            raise NotUnderstood(f"{path.name} arrived damaged: download it again")
        arrival.so_far.replace(path)
    finally:
        with suppress(OSError):
            arrival.so_far.unlink(missing_ok=True)
