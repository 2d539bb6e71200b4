"""Reads records of the store with the functions and errors of models/bounded_reading.py. All records are read here.

Adds the error Unreadable: the disk or network of the store refuses a file, and the worker waits until it can be read.
Records written by this version contain a checksum of their other fields. Records of earlier versions have none.
"""

import json
from typing import TypeVar

from pydantic import BaseModel

from models.bounded_reading import (
    CHECKSUM,
    FileFault,
    FileMissing,
    FileTooLarge,
    FileTorn,
    FileUnreadable,
    checksum_of,
    parse_record,
)
from models.registry.storage.base import ArtifactStorage, FenceDamaged, Unreachable

Record = TypeVar("Record", bound=BaseModel)

TOKEN_BYTES, HIGHEST_TOKEN = 32, 2**53 - 2**20  # above that, Redis' numbers are not exact
RECORD_BYTES = 2**20  # a manifest has about 2,000


class Unreadable(FileUnreadable, Unreachable, code="store-file-unreadable"):
    """A file of the store exists, but cannot be read at the moment."""


def read_bytes(storage: ArtifactStorage, name: str, limit: int = RECORD_BYTES) -> bytes:
    """Read a file of at most `limit` bytes. Raises FileMissing, Unreadable, Unreachable and FileTooLarge."""
    try:
        return storage.read(name, limit=limit)
    except (FileFault, Unreachable):
        raise
    except FileNotFoundError as error:
        raise FileMissing(f"there is no {name} in the store") from error
    except OSError as error:
        raise Unreadable(f"{name} cannot be read: {reason(error)}") from error


def reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def read_record(storage: ArtifactStorage, name: str, kind: type[Record]) -> Record:
    """Read and check one JSON record. Raises FileMissing, Unreadable, Unreachable and FileInvalid."""
    return parse(read_bytes(storage, name), kind, name)


def read_token(storage: ArtifactStorage, name: str) -> int:
    """Read a fence token. Raises FileMissing, Unreadable, Unreachable and FenceDamaged."""
    try:
        return parse_token(read_bytes(storage, name, TOKEN_BYTES), name)
    except FileTooLarge as error:
        raise FenceDamaged(str(error)) from error


def parse_token(data: bytes, name: str) -> int:
    """Parse a fence token. Raises FenceDamaged."""
    text = data.decode("ascii", errors="replace").strip()
    if not text.isdecimal() or int(text) > HIGHEST_TOKEN:
        raise FenceDamaged(f"{name} contains {text[:20]!r} instead of a fence token")
    return int(text)


def parse(data: bytes, kind: type[Record], name: str) -> Record:
    """Parse a record. Ignores unknown fields, which a newer version may have written. Raises FileInvalid."""
    if not data.lstrip().startswith(b"{"):
        raise FileTorn(f"{name} is not a JSON object")
    return parse_record(kind, data, RECORD_BYTES, name)


def seal(record: BaseModel) -> bytes:
    """Return the record as indented JSON with its checksum."""
    fields = json.loads(record.model_dump_json(exclude={CHECKSUM}))
    return json.dumps({**fields, CHECKSUM: checksum_of(fields)}, indent=2).encode()
