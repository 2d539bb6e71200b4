"""The only way to read a record of the store, with one error for each of five ways in which a file can fail.

    FileNotFoundError   it does not exist
    Unreadable          the disk refuses (permissions, I/O error, not a regular file)
    Torn                it is not JSON: cut off or overwritten
    Damaged             it is JSON, but not what was written: its own checksum differs, or it is too large
    NotUnderstood       it is whole, but another version wrote it: never deleted, never replaced

A record that this version writes carries a checksum of its other fields. Records of earlier versions have none.
"""

import hashlib
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from models.storage.shelf import FenceDamaged, Shelf, TooLarge, Unreachable

Record = TypeVar("Record", bound=BaseModel)

CHECKSUM = "checksum"
TOKEN_BYTES, HIGHEST_TOKEN = 32, 2**53 - 2**20  # beyond that Redis' numbers are no longer exact
RECORD_BYTES = 2**20  # a manifest has about 2,000


class Unreadable(Unreachable):
    """A file exists and cannot be read. The message names the file and the error."""


class BadRecord(Exception):
    """A file was read and is of no use. The message names the file and the reason."""


class Torn(BadRecord):
    """Not JSON."""


class Damaged(BadRecord):
    """Its checksum or its size differs from what was written."""


class NotUnderstood(BadRecord):
    """Whole, but written by another version."""


def read_bytes(shelf: Shelf, name: str, limit: int = RECORD_BYTES) -> bytes:
    """Read a file of at most `limit` bytes. Raises FileNotFoundError, Unreadable, Unreachable and Damaged."""
    try:
        return shelf.read(name, limit=limit)
    except (FileNotFoundError, Unreachable):
        raise
    except TooLarge as error:
        raise Damaged(f"{name} has more than {limit} bytes") from error
    except OSError as error:
        raise Unreadable(f"{name} cannot be read: {reason(error)}") from error


def reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def read_record(shelf: Shelf, name: str, kind: type[Record]) -> Record:
    """Read and check one JSON record. Raises FileNotFoundError, Unreadable, Unreachable and BadRecord."""
    return parse(read_bytes(shelf, name), kind, name)


def read_token(shelf: Shelf, name: str) -> int:
    """Read a fence. Raises FileNotFoundError, Unreadable, Unreachable and FenceDamaged."""
    try:
        return parse_token(read_bytes(shelf, name, TOKEN_BYTES), name)
    except Damaged as error:
        raise FenceDamaged(str(error)) from error


def parse_token(data: bytes, name: str) -> int:
    """Raises FenceDamaged."""
    text = data.decode("ascii", errors="replace").strip()
    if not text.isdecimal() or int(text) > HIGHEST_TOKEN:
        raise FenceDamaged(f"{name} holds no fence token, but {text[:20]!r}")
    return int(text)


def parse(data: bytes, kind: type[Record], name: str) -> Record:
    """Raises Torn, Damaged, NotUnderstood. Unknown fields are ignored: a newer version may have written them."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Torn(f"{name} is not JSON") from error
    if not isinstance(fields, dict):
        raise Torn(f"{name} is not a JSON object")
    if CHECKSUM in fields and fields[CHECKSUM] != checksum_of(fields):
        raise Damaged(f"{name} does not match its own checksum")
    try:
        return kind.model_validate_json(data, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NotUnderstood(f"{name} was written by another version: {where or 'it'}: {first['msg']}") from error


def seal(record: BaseModel) -> bytes:
    """Return the record as indented JSON with its checksum."""
    fields = json.loads(record.model_dump_json(exclude={CHECKSUM}))
    return json.dumps({**fields, CHECKSUM: checksum_of(fields)}, indent=2).encode()


def checksum_of(fields: dict[str, Any]) -> str:
    """SHA-256 of all fields but the checksum, as JSON with sorted keys."""
    others = {name: value for name, value in fields.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()
