"""Downloads files of data sets and checkpoints. Each is checked, and appears under its name only when complete."""

import base64
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import httpx2

from acgan_client.errors import Misconfigured, NotUnderstood, printable
from acgan_client.records import MOST_CLASSES, DatasetFile, DatasetManifest, FileRecord
from acgan_client.records.checkpoints import CheckpointManifest
from acgan_client.responses import Body

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20  # bytes; one has 3 KB
MOST = 500_000  # digits of each class
NAME = re.compile(r"(train|t10k)-(images-idx3|labels-idx1|redraws-idx1)-ubyte\.gz")
SHA256 = re.compile(r"[0-9a-f]{64}")
WEIGHTS_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # of a file of a checkpoint, without a path
WEIGHTS = ("generator.safetensors", "generator_average.safetensors", "discriminator.safetensors")
CHECKPOINT_FILES = {*WEIGHTS, "samples.png"}
WEIGHTS_LIMIT = 1 << 29  # bytes; those of the largest latents have 24 million
MOST_FILES = 50
DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
LENGTH = re.compile(r"[0-9]{1,18}")
PART = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
IMAGE_BYTES = 28 * 28 + 3  # of one packed digit: incompressible pixels grow by less than a thousandth
SLOWEST = 10_000  # bytes per second
PATIENCE_SECONDS = 300.0
NAME_PART = 40  # characters of a file's name in that of its temporary file, which a system may limit to 255 bytes
NOT_REPLACED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)  # of a writable file in a folder that is not
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def files_of(manifest: DatasetManifest) -> Mapping[str, DatasetFile]:
    """Return the files of a manifest. Raises NotUnderstood for names, sizes or checksums that no data set can have."""
    strange = "the manifest of the data set names files that no data set has"
    for name, file in manifest.files.items():
        match = NAME.fullmatch(name)
        if match is None:
            raise NotUnderstood(f"{strange}: a file {printable(name[:100])!r}")
        if not 0 <= file.size <= file_limit(manifest, split=match[1], what=match[2]):
            raise NotUnderstood(f"{strange}: {name} of {file.size:,} bytes")
        if SHA256.fullmatch(file.sha256) is None:
            raise NotUnderstood(f"{strange}: {name} with a checksum that is no SHA-256")
    if not manifest.files:
        raise NotUnderstood(f"{strange}: no files")
    return manifest.files


def file_limit(manifest: DatasetManifest, split: str, what: str) -> int:
    """Return the largest size in bytes that a file of a data set can have, packed; -1 if its order is impossible."""
    n = manifest.order.per_class if split == "train" else manifest.order.test_per_class
    if not 1 <= n <= MOST or not 2 <= len(manifest.classes) <= MOST_CLASSES:
        return -1
    return 2048 + n * len(manifest.classes) * (IMAGE_BYTES if what == "images-idx3" else 2)


def files_of_checkpoint(manifest: CheckpointManifest) -> Mapping[str, FileRecord]:
    """Return the files of a manifest that this client knows: a newer service may have more, which are not written.

    Raises NotUnderstood for names, sizes or checksums that no checkpoint has.
    """
    strange = "the manifest of the checkpoint names files that no checkpoint has"
    for name, file in manifest.files.items():
        if WEIGHTS_NAME.fullmatch(name) is None or name == MANIFEST:
            raise NotUnderstood(f"{strange}: a file {printable(name[:100])!r}")
        if not 0 <= file.size <= WEIGHTS_LIMIT or SHA256.fullmatch(file.sha256) is None:
            raise NotUnderstood(f"{strange}: {name} of {file.size:,} bytes, or a checksum that is no SHA-256")
    known = {name: file for name, file in manifest.files.items() if name in CHECKPOINT_FILES}
    if not known or len(manifest.files) > MOST_FILES:
        raise NotUnderstood(f"{strange}: {len(manifest.files)} files, of which this client knows {len(known)}")
    return known


def target(to: Path | str, name: str) -> Path:
    """Return the path for a file: `to`, or `name` in it if it is a folder.

    Raises Misconfigured for a name that no file of a checkpoint has, such as one with a path.
    """
    if WEIGHTS_NAME.fullmatch(name) is None:
        raise Misconfigured(f"{printable(name[:100])!r} is not the name of a file of a checkpoint")
    return Path(to) / name if Path(to).is_dir() else Path(to)


def recorded(response: httpx2.Response | None) -> FileRecord:
    """Return the size and SHA-256 that the headers of a response state. Raises NotUnderstood if they do not."""
    headers = response.headers if response is not None else {}
    length, match = headers.get("Content-Length", ""), DIGEST.fullmatch(headers.get("Repr-Digest", "").strip())
    if match is None or not LENGTH.fullmatch(length):
        raise NotUnderstood("the service sent a file without its size or SHA-256")
    return FileRecord(sha256=base64.b64decode(match[1]).hex(), size=int(length))


def is_whole(path: Path, record: FileRecord | DatasetFile) -> bool:
    """Return whether the file exists with the recorded size and SHA-256."""
    if not path.is_file() or path.stat().st_size != record.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


def beside(path: Path) -> Path:
    """Return a new hidden name in the same folder, for a file that is not complete."""
    return path.with_name(f".{path.name[:NAME_PART]}.{secrets.token_hex(8)}.part")


def open_new(path: Path) -> BinaryIO:
    """Create a file to write. Raises FileExistsError if there is one, or a link."""
    return os.fdopen(os.open(path, NEW, 0o666), "wb")


def write_output(path: Path, data: bytes) -> None:
    """Write a file that the caller named: it exists with all of `data`, or is as it was before.

    A link stays a link, and its file is replaced. A pipe or a device is written to. A file keeps its permissions. If
    its folder lets no file be replaced, the file is overwritten. Raises OSError, which names `path`.
    """
    target = Path(os.path.realpath(path))
    try:
        old = _status(path)
        if old is not None and not (stat.S_ISREG(old.st_mode) and target.exists()):  # /dev/stdout has no other path
            path.write_bytes(data)
            return
        try:
            replace(target, data, old)
        except OSError as error:
            if old is None or error.errno not in NOT_REPLACED:
                raise
            path.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def replace(path: Path, data: bytes, old: os.stat_result | None) -> None:
    """Write a file beside the old one, with its permissions, then take its place. Raises OSError."""
    complete = beside(path)
    try:
        with open_new(complete) as file:
            if old is not None and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            file.write(data)
        complete.replace(path)
    finally:
        with suppress(OSError):
            complete.unlink(missing_ok=True)


class Arrival:
    """A partial download, in a new file beside the final path."""

    def __init__(self, path: Path, limit: int) -> None:
        """`limit` is the largest size in bytes."""
        self.path = path
        self.limit = limit
        self.so_far = beside(path)
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.file = open_new(self.so_far)
        self.first: httpx2.Response | None = None  # the response that began the file
        self._body: Body | None = None

    @property
    def seconds(self) -> float:
        """The time limit for the file."""
        return PATIENCE_SECONDS + self.limit / SLOWEST

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the next request: after a lost connection, it asks for the rest of the same version."""
        tag = self.first.headers.get("ETag", "") if self.first else ""
        return {"Range": f"bytes={self.size}-", "If-Range": tag} if self.size and tag else {}

    def expect(self, response: httpx2.Response) -> None:
        """Expect the body of this response: with what arrived before, at most `limit` bytes, within a time limit.

        Call it for every response. Raises NotUnderstood for another part of a file than the one that was requested.
        """
        if response.status_code == 206:
            self._check_part(response.headers.get("Content-Range", ""))
        elif response.status_code < 300:
            self._begin(response)
        self._body = Body(response, self.limit - self.size, self.seconds, keeps=False)

    def _begin(self, response: httpx2.Response) -> None:
        if response.status_code != 200:
            raise NotUnderstood(f"the service answers {response.status_code} to a request for a file")
        self.first = response
        self.sha256, self.size = hashlib.sha256(), 0
        self.file.seek(0)
        self.file.truncate()

    def _check_part(self, named: str) -> None:
        part = PART.fullmatch(named)
        start, end, whole = map(int, part.groups()) if part else (-1, -1, -1)
        if not self.size or (start, end) != (self.size, whole - 1) or whole > self.limit:
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

    If `record` is None, the headers of the response give the SHA-256. A link at its path is replaced, and never written
    through. Raises NotUnderstood if the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrival = Arrival(path, record.size if record else WEIGHTS_LIMIT)
    try:
        with arrival.file:
            yield arrival
        if arrival.sha256.hexdigest() != (record or recorded(arrival.first)).sha256:
            raise NotUnderstood(f"{path.name} arrived damaged: download it again")
        arrival.so_far.replace(path)
    finally:
        with suppress(OSError):
            arrival.so_far.unlink(missing_ok=True)
