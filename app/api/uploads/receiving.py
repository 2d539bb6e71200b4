"""Receives large request bodies into temporary files: a few at a time, with limits on their size and on pauses.

A route calls `Uploads.receive` after all other checks: until then no byte of the body is read, and a client that sent
`Expect: 100-continue` sends none. The files are in the folder in which the store receives files, and count towards its
budget. A file is locked while it is received: `remove_unfinished` deletes those of processes that were killed.
"""

import errno
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
from fastapi import Request
from starlette.exceptions import HTTPException

from app.middleware.body_limit import ADMIT
from models.atomic_files import TEMPORARY, create_in, names_in
from models.errors import InvalidInput, Unavailable
from models.file_locks import is_at, try_lock

logger = logging.getLogger(__name__)

PREFIX = ".upload-"
AT_ONCE = 2
PIECE = 1 << 20  # bytes written at once
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

CheckRoom = Callable[[int], Awaitable[None]]


class UploadTooLarge(InvalidInput, code="upload-too-large"):
    """The file is larger than ACGAN_UPLOAD_LIMIT. The message gives the limit."""


class UploadTimeout(InvalidInput, code="upload-timeout"):
    """No byte of the file arrived for ACGAN_UPLOAD_STALL_SECONDS."""


class UnsupportedFileType(InvalidInput, code="unsupported-file-type"):
    """The body is not declared as a file of a supported type."""


class TooManyUploads(Unavailable, code="too-many-uploads"):
    """The limit of uploads at the same time is reached."""

    retry_after = 10.0


class DiskFull(Unavailable, code="disk-full"):
    """The disk of the store has no space left."""


class ReceivedFile(NamedTuple):
    """A file that has been received. It is deleted when the block of `Uploads.receive` ends."""

    file: FileIO
    size: int  # bytes
    path: Path

    def read(self) -> bytes:
        self.file.seek(0)
        return self.file.readall()


class Uploads:
    def __init__(self, folder: Callable[[], Path], limit: int, stall_seconds: float) -> None:
        """`folder` returns the folder of the temporary files, and may raise OSError. `limit` is in bytes per file."""
        self.folder = folder
        self.limit = limit
        self.stall_seconds = stall_seconds
        self._expected: list[Progress] = []
        self._threads = anyio.CapacityLimiter(AT_ONCE)

    @asynccontextmanager
    async def receive(
        self, request: Request, media_types: Collection[str], check_room: CheckRoom
    ) -> AsyncIterator[ReceivedFile]:
        """Receive the body of a request, and delete the file at the end of the block.

        `check_room` is called with the bytes that all uploads will still write, and raises if there is no room.
        Raises UnsupportedFileType, UploadTooLarge, TooManyUploads and the errors of `check_room` before the first byte
        is read; then UploadTimeout, UploadTooLarge, DiskFull, OSError, and HTTPException if the connection is lost.
        """
        check_type(request, media_types)
        progress = Progress(self._declared_size(request))
        if len(self._expected) >= AT_ONCE:
            raise TooManyUploads(f"this service is receiving {AT_ONCE} files already: retry later")
        self._expected.append(progress)
        try:
            if admit := request.scope.get(ADMIT):
                admit()
            await check_room(sum(each.outstanding for each in self._expected))
            async with self._temporary_file() as (path, file):
                await self._fill(file, request, progress)
                yield ReceivedFile(file, progress.received, path)
        finally:
            self._expected.remove(progress)

    def _declared_size(self, request: Request) -> int:
        """Return the declared size, or the limit for a body of unknown size. Raises UploadTooLarge."""
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isascii() and declared.isdigit() else self.limit
        if size > self.limit:
            raise self._too_large()
        return size

    def _too_large(self) -> UploadTooLarge:
        return UploadTooLarge(f"the file is too large: ACGAN_UPLOAD_LIMIT allows {self.limit:,} bytes")

    async def _fill(self, file: FileIO, request: Request, progress: "Progress") -> None:
        pending, more = bytearray(), True
        while more:
            data, more = await self._next_piece(request)
            progress.received += len(data)
            if progress.received > self.limit:
                raise self._too_large()
            pending += data
            if len(pending) >= PIECE or not more:
                with space_needed():
                    await anyio.to_thread.run_sync(write_all, file, bytes(pending), limiter=self._threads)
                progress.written = progress.received
                pending.clear()

    async def _next_piece(self, request: Request) -> tuple[bytes, bool]:
        """Return the next bytes of a body, and whether more follow."""
        try:
            with anyio.fail_after(self.stall_seconds):
                message = await request.receive()
        except TimeoutError:
            raise UploadTimeout(
                f"no byte of the file arrived for {self.stall_seconds:g} seconds: send it again"
            ) from None
        if message["type"] == "http.disconnect":
            raise HTTPException(400)
        return message.get("body", b""), message.get("more_body", False)

    @asynccontextmanager
    async def _temporary_file(self) -> AsyncIterator[tuple[Path, FileIO]]:
        with space_needed(), anyio.CancelScope(shield=True):  # so that no file is created and forgotten
            path, file = await anyio.to_thread.run_sync(self._create, limiter=self._threads)
        try:
            yield path, file
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove, path, file, limiter=self._threads)

    def _create(self) -> tuple[Path, FileIO]:
        folder = self.folder()
        return create_in(folder, lambda: create_locked(folder))

    def remove_unfinished(self) -> list[str]:
        """Delete the files of processes that no longer exist. Returns their names. Raises OSError."""
        removed = []
        folder = self.folder()
        for name in sorted(names_in(folder)):
            if not (name.startswith(PREFIX) and name.endswith(TEMPORARY)):
                continue
            path = folder / name
            with suppress(OSError), path.open("r+b") as file:
                if try_lock(file.fileno()):
                    path.unlink()
                    removed.append(path.name)
        return removed


def create_locked(folder: Path) -> tuple[Path, FileIO]:
    """Create a temporary file and take its lock. Raises OSError; FileNotFoundError if another process has deleted it.

    `remove_unfinished` of another process takes a file without a lock for that of a killed one.
    """
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=PREFIX, suffix=TEMPORARY)
    path, file, is_locked = Path(name), FileIO(descriptor, "r+b"), True
    try:
        with suppress(OSError):  # some network mounts have no locks: an old file is deleted after an hour
            is_locked = try_lock(descriptor)
        if not (is_locked and is_at(path, descriptor)):
            raise FileNotFoundError(errno.ENOENT, "another process has deleted the new file", name)
    except BaseException:
        remove(path, file)
        raise
    return path, file


class Progress:
    """The bytes of an upload."""

    def __init__(self, declared: int) -> None:
        self.declared = declared
        self.received = self.written = 0

    @property
    def outstanding(self) -> int:
        """The bytes that are not in the file yet."""
        return max(0, self.declared - self.written)


def check_type(request: Request, media_types: Collection[str]) -> None:
    """Raises UnsupportedFileType unless the body is declared as an uncompressed file of one of these types."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in media_types:
        raise UnsupportedFileType(
            f"send the file itself as the body, with the header Content-Type: {' or '.join(media_types)}"
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedFileType("send the file without Content-Encoding")


@contextmanager
def space_needed() -> Iterator[None]:
    """Convert the error of a full disk into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        logger.error("the disk of the store is full: %s", error)
        raise DiskFull("the disk of the store is full: retry when it has free space") from error


def write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def remove(path: Path, file: FileIO) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        file.close()
