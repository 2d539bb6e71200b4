"""Reads of files and records: each read has a size limit, and each failure a separate class. Does not import torch.

    FileFault
        FileMissing             there is no such file
        FileUnreadable          it exists, but it is a folder, a pipe or a device, or the system refuses to read it
        FileInvalid             it was read, but cannot be used
            FileTooLarge        it is larger, or unpacks to more, than such a file may be
            FileTorn            it ends early or does not have its format: cut off or overwritten
            FileDamaged         it has its format, but a checksum is wrong or its parts do not match
            FileNotUnderstood   it is intact, but of another kind, or of a version that this one does not read

All are OSErrors whose message is a sentence that names the file. The records of the store
(models/registry/storage/reading.py) are read by the same functions and raise the same classes.
"""

import errno
import hashlib
import json
import os
import re
import stat
import zlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from models.errors import AcganError, InvalidInput, NotFound, Unavailable

Record = TypeVar("Record", bound=BaseModel)

CHECKSUM = "checksum"  # field of a record with its checksum
GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"
HDF5 = b"\x89HDF\r\n\x1a\n"
ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x3a]")  # a protobuf: ir_version, then producer_name or graph
LFS_POINTER = b"version https://git-lfs"
HEAD = 512  # bytes from which the kind of a file is recognised
PIECE = 1 << 20  # bytes unpacked per step
INPUT_PIECE = 1 << 16
PADDING = re.compile(rb"\0+")
WINDOW = 31  # zlib: a gzip member with a window of up to 32 KiB


class FileFault(AcganError, OSError, code="file-fault"):
    """A file cannot be used. The message is a sentence that names it."""


class FileMissing(FileFault, NotFound, FileNotFoundError, code="file-missing"):
    """There is no such file."""


class FileUnreadable(FileFault, Unavailable, code="file-unreadable"):
    """The file exists but cannot be read."""


class FileInvalid(FileFault, InvalidInput, code="file-invalid"):
    """The file was read, but cannot be used. The message names the file and the reason."""


class FileTooLarge(FileInvalid, code="file-too-large"):
    """The file is larger, or unpacks to more, than such a file may be."""


class FileTorn(FileInvalid, code="file-torn"):
    """The file ends early or does not have its format."""


class FileDamaged(FileInvalid, code="file-damaged"):
    """The file has its format, but a checksum is wrong or its parts do not match."""


class FileNotUnderstood(FileInvalid, code="file-not-understood"):
    """The file is intact, but of another kind, or of a version that this one does not read."""


def printable(text: object) -> str:
    """Return the text with control, format and undecodable characters escaped, as in `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def file_size(path: Path) -> int:
    """Return the size of a regular file in bytes, without opening it. Raises FileMissing or FileUnreadable."""
    try:
        return _regular_size(path, path.stat())
    except OSError as error:
        raise _fault(path, error) from error


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; of a larger one at most one byte more is read.

    A pipe, a socket, a device or a folder is rejected at once, without blocking. Raises FileMissing, FileUnreadable
    or FileTooLarge.
    """
    if (size := file_size(path)) <= limit:
        data = read_head(path, limit + 1)
        if (size := len(data)) <= limit:
            return data
    raise FileTooLarge(f"{printable(path)} has {size:,} bytes, and such a file has at most {limit:,}")


def read_head(path: Path, length: int) -> bytes:
    """Read the first `length` bytes of a regular file, or all if it is shorter. Raises FileMissing, FileUnreadable."""
    file_size(path)  # before opening: opening a device may have effects
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            _regular_size(path, os.fstat(file.fileno()))
            return file.read(length)
    except OSError as error:
        raise _fault(path, error) from error


def _regular_size(path: Path, status: os.stat_result) -> int:
    if stat.S_ISDIR(status.st_mode):
        raise FileUnreadable(f"{printable(path)} is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise FileUnreadable(f"{printable(path)} is not a regular file, but a pipe, a socket or a device")
    return status.st_size


def _fault(path: Path, error: OSError) -> FileFault:
    if isinstance(error, FileFault):
        return error
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileMissing(f"there is no file {printable(path)}")
    return FileUnreadable(f"{printable(path)} cannot be read: {error.strerror or type(error).__name__}")


def gunzip_bounded(data: bytes, limit: int, name: str) -> bytes:
    """Unpack gzip data of one or more members to at most `limit` bytes. Zeros after the last member are padding.

    Uses at most `limit` + PIECE bytes. `name` is the file's, for messages. Raises FileTooLarge, FileTorn or
    FileNotUnderstood.
    """
    unpacked, position = bytearray(), 0
    while position < len(data):
        if not data.startswith(GZIP, position):
            raise FileNotUnderstood(f"{printable(name)} is not a gzip file, or something follows its gzip data")
        try:
            position = _gunzip_member(data, position, unpacked, limit)
        except zlib.error as error:
            raise FileTorn(f"{printable(name)} is a damaged gzip file: {error}") from error
        except EOFError:
            raise FileTorn(f"{printable(name)} ends early: its gzip data is not complete") from None
        if len(unpacked) > limit:
            raise FileTooLarge(f"{printable(name)} unpacks to more than {limit:,} bytes")
        padding = PADDING.match(data, position)
        position = padding.end() if padding else position
    return bytes(unpacked)


def _gunzip_member(data: bytes, position: int, unpacked: bytearray, limit: int) -> int:
    """Append a member's content to `unpacked`, which becomes longer than `limit` if the content is too large.

    Returns the position after the member. The input is passed in pieces, because zlib copies what follows a member.
    """
    stream, pending = zlib.decompressobj(WINDOW), b""
    while not stream.eof and len(unpacked) <= limit:
        piece = stream.decompress(pending, min(PIECE, limit + 1 - len(unpacked)))
        unpacked += piece
        pending = stream.unconsumed_tail
        if not (stream.eof or piece or pending):
            pending = data[position : position + INPUT_PIECE]
            position += len(pending)
            if not pending:
                raise EOFError
    return position - len(stream.unused_data)


def gunzip_head(data: bytes, size: int) -> bytes:
    """Unpack the first `size` bytes of a gzip file, or fewer if the data ends earlier or is damaged."""
    try:
        return zlib.decompressobj(WINDOW).decompress(data, size)
    except zlib.error:
        return b""


def parse_json(data: bytes, limit: int, name: str) -> Any:
    """Parse JSON of at most `limit` bytes. Raises FileTooLarge, or FileTorn if it is not JSON."""
    if len(data) > limit:
        raise FileTooLarge(f"{printable(name)} has {len(data):,} bytes of JSON, and at most {limit:,} are read")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileTorn(f"{printable(name)} is not JSON, or damaged: {printable(error)[:200]}") from error


def parse_record(model: type[Record], data: bytes, limit: int, name: str) -> Record:
    """Parse JSON into a record. Ignores fields that the model does not have, and verifies the checksum if there is one.

    Raises FileTooLarge, FileTorn if it is not JSON, FileDamaged if its checksum differs, or FileNotUnderstood if it is
    JSON of another version or kind.
    """
    fields = parse_json(data, limit, name)
    if isinstance(fields, dict) and CHECKSUM in fields and fields[CHECKSUM] != checksum_of(fields):
        raise FileDamaged(f"{printable(name)} does not match its own checksum")
    try:
        return model.model_validate_json(data, extra="ignore")
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, reason["loc"])) or "it"
        raise FileNotUnderstood(
            f"{printable(name)} is not understood: {printable(place)[:80]}: {printable(reason['msg'])[:200]}. "
            "Perhaps another version wrote it"
        ) from error


def checksum_of(fields: dict[str, Any]) -> str:
    """Return SHA-256 of all fields except the checksum, as JSON with sorted keys."""
    others = {name: value for name, value in fields.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def foreign_kind(head: bytes) -> str | None:
    """Return the kind of a wrong file and what to do, from its first 512 bytes; None if it is not recognised."""
    if not head:
        return "an empty file"
    if head.startswith(LFS_POINTER):
        return "a git-lfs pointer: git lfs pull downloads the file itself"
    if (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5") or (head.startswith(ZIP) and b".pkl" in head):
        return "a pickle (PyTorch's .pt); a pickle can run code, so it is never read: save the weights as safetensors"
    if head.startswith(HDF5):
        return "an HDF5 file, such as Keras writes: import-keras reads these"
    if ONNX.match(head):
        return "an ONNX model: save the weights as safetensors"
    if head.startswith(ZIP):
        return "a zip archive: unpack it first (a .keras file holds model.weights.h5)"
    if head.startswith(GZIP):
        return "a gzip archive: unpack it first"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page instead of the file: download it again"
    if not head.strip(b"\0"):
        return "a file of zeros: a copy or a download that was cut off"
    return None
