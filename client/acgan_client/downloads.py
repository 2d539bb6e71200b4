"""Downloads files of data sets and checkpoints. Each is checked, and appears under its name only when complete."""

import base64
import binascii
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from acgan_client.errors import Misconfigured, NotUnderstood, printable
from acgan_client.records import (
    NUM_CLASSES,
    CheckpointManifest,
    DatasetFile,
    DatasetManifest,
    DatasetOrder,
    FileRecord,
)
from acgan_client.responses import Body

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20  # bytes; one has 3 KB
MOST = 500_000  # digits of each class
NAME = re.compile(r"(train|t10k)-(images-idx3|labels-idx1|redraws-idx1)-ubyte\.gz")
SHA256 = re.compile(r"[0-9a-f]{64}")
WEIGHTS_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # of a file of a checkpoint, without a path
WEIGHTS_LIMIT = 1 << 29  # bytes; those of the largest latents have 24 million
MOST_FILES = 50
DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
PART = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
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


def files_of_checkpoint(manifest: CheckpointManifest) -> Mapping[str, FileRecord]:
    """Return the files of a manifest. Raises NotUnderstood for names, sizes or checksums that no checkpoint has."""
    strange = "the manifest of the checkpoint names files that no checkpoint has"
    for name, file in manifest.files.items():
        if WEIGHTS_NAME.fullmatch(name) is None or name == MANIFEST:
            raise NotUnderstood(f"{strange}: a file {printable(name[:100])!r}")
        if not 0 <= file.size <= WEIGHTS_LIMIT or SHA256.fullmatch(file.sha256) is None:
            raise NotUnderstood(f"{strange}: {name} of {file.size:,} bytes, or a checksum that is no SHA-256")
    if not 1 <= len(manifest.files) <= MOST_FILES:
        raise NotUnderstood(f"{strange}: {len(manifest.files)} files")
    return manifest.files


def target(to: Path | str, name: str) -> Path:
    """Return the path for a file: `to`, or `name` in it if it is a folder.

    Raises Misconfigured for a name that no file of a checkpoint has, such as one with a path.
    """
    if WEIGHTS_NAME.fullmatch(name) is None:
        raise Misconfigured(f"{printable(name[:100])!r} is not the name of a file of a checkpoint")
    return Path(to) / name if Path(to).is_dir() else Path(to)


def recorded(response: httpx2.Response) -> FileRecord:
    """Return the size and SHA-256 that the headers of a response state. Raises NotUnderstood if they do not."""
    length, digest = response.headers.get("Content-Length", ""), response.headers.get("Repr-Digest", "")
    match = DIGEST.fullmatch(digest.strip())
    if match is None or not (length.isdecimal() and int(length) <= WEIGHTS_LIMIT):
        raise NotUnderstood("the service sent a file without a checksum or a possible size")
    try:
        return FileRecord(sha256=base64.b64decode(match[1], validate=True).hex(), size=int(length))
    except binascii.Error as error:
        raise NotUnderstood("the service sent a file without a checksum") from error


def is_whole(path: Path, record: FileRecord | DatasetFile) -> bool:
    """Return whether the file exists with the recorded size and SHA-256."""
    if not path.is_file() or path.stat().st_size != record.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


class Arrival:
    """A partial download, in a new file beside the final path."""

    def __init__(self, path: Path, record: FileRecord | DatasetFile | None) -> None:
        """If `record` is None, the headers of the first response give size and SHA-256."""
        self.path = path
        self.record = record
        self.so_far = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.file = os.fdopen(os.open(self.so_far, NEW, 0o666), "wb")
        self._tag = ""
        self._body: Body | None = None

    @property
    def seconds(self) -> float:
        """The time limit for the file."""
        return PATIENCE_SECONDS + (self.record.size if self.record else 0) / SLOWEST

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the next request: after a lost connection, it asks for the rest of the same version."""
        return {"Range": f"bytes={self.size}-", "If-Range": self._tag} if self.size and self._tag else {}

    def expect(self, response: httpx2.Response) -> bool:
        """Expect the body of this response: at most the recorded size, within a time limit for that size.

        Returns False if the response is no file, but an error. Raises NotUnderstood for another part of a file.
        """
        if response.status_code >= 300:
            return False
        if response.status_code == 206:
            self._continue(response)
        elif response.status_code == 200:
            self._begin(response)
        else:
            raise NotUnderstood(f"the service answers {response.status_code} to a request for a file")
        assert self.record is not None
        self._body = Body(response, self.record.size - self.size, self.seconds, keeps=False)
        return True

    def _begin(self, response: httpx2.Response) -> None:
        if self.record is None:
            self.record = recorded(response)
        self._tag = response.headers.get("ETag", "")
        self.sha256, self.size = hashlib.sha256(), 0
        self.file.seek(0)
        self.file.truncate()

    def _continue(self, response: httpx2.Response) -> None:
        assert self.record is not None
        part = PART.fullmatch(response.headers.get("Content-Range", ""))
        expected = (self.size, self.record.size - 1, self.record.size)
        if part is None or tuple(map(int, part.groups())) != expected:
            raise NotUnderstood("the service sent another part of a file than the one that was requested")

    def take(self, data: bytes) -> None:
        """Append data. Raises NotUnderstood if the file is too large, Unreachable if it takes too long."""
        assert self._body is not None
        self._body.take(data)
        self.sha256.update(data)
        self.size += len(data)
        self.file.write(data)


@contextmanager
def arriving(path: Path, record: FileRecord | DatasetFile | None) -> Iterator[Arrival]:
    """Download a file piece by piece. The file exists when the block ends. If the block fails, no part of it remains.

    A link at its path is replaced, and never written through. Raises NotUnderstood if the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrival = Arrival(path, record)
    try:
        with arrival.file:
            yield arrival
        if arrival.record is None or arrival.sha256.hexdigest() != arrival.record.sha256:
            raise NotUnderstood(f"{path.name} arrived damaged: download it again")
        arrival.so_far.replace(path)
    finally:
        with suppress(OSError):
            arrival.so_far.unlink(missing_ok=True)


def request_of(arrival: Arrival, query: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    """Return the arguments of httpx2 for the next request. `seconds` limits each step of it."""
    timeout = {} if seconds is None else {"timeout": seconds}
    return {"params": {name: value for name, value in query.items() if value}, "headers": arrival.headers, **timeout}
