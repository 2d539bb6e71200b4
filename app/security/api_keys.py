"""API keys: stored as digests, compared in constant time, each with a name and a role."""

import hashlib
import hmac
import re
import secrets
from enum import StrEnum
from typing import NamedTuple

NAME = r"[A-Za-z0-9._-]{1,64}"
ENTRY = re.compile(rf"({NAME}):(?:(read|train|admin):)?([0-9a-fA-F]{{64}})")
PREFIX = 8  # hexadecimal digits of a key's digest in log lines


class Role(StrEnum):
    """The permissions of a key; each role includes the ones before it."""

    READ = "read"  # every GET
    TRAIN = "train"  # start jobs, and change the jobs that it started
    ADMIN = "admin"  # everything

    def includes(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


class Entry(NamedTuple):
    """A key's entry in ACGAN_API_KEYS. An entry from a release without roles has the role admin."""

    name: str
    written_role: Role | None
    digest: bytes

    @property
    def role(self) -> Role:
        return self.written_role or Role.ADMIN

    def __str__(self) -> str:
        return ":".join(filter(None, (self.name, self.written_role, self.digest.decode())))


class Keyring(NamedTuple):
    entries: tuple[Entry, ...]

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Parse ACGAN_API_KEYS. Raises ValueError. The message does not quote the text, which may contain a key."""
        entries = []
        words = text.replace(",", " ").split()
        for number, word in enumerate(words, 1):
            if not (match := ENTRY.fullmatch(word)):
                raise ValueError(
                    "should be entries like NAME:ROLE:SHA256, separated by spaces or commas, with the role read, train "
                    f"or admin, but entry {number} is malformed: `acgan key NAME` makes one; do not put the key "
                    "itself here"
                )
            entries.append(Entry(match[1], Role(match[2]) if match[2] else None, match[3].lower().encode()))
        if not entries:
            raise ValueError("should have at least one entry: `acgan key NAME` makes one; unset it to disable keys")
        return cls(tuple(entries))

    def entry_of(self, key: bytes) -> Entry | None:
        """Find a key's entry. Compares all entries, so that the time does not depend on the key."""
        digest, matching = digest_of(key), None
        for entry in self.entries:
            if hmac.compare_digest(entry.digest, digest):
                matching = entry
        return matching

    @property
    def names(self) -> set[str]:
        return {entry.name for entry in self.entries}

    @property
    def without_role(self) -> list[str]:
        return sorted({entry.name for entry in self.entries if entry.written_role is None})


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).hexdigest().encode()


def make_key(name: str, role: Role = Role.TRAIN) -> tuple[str, Entry]:
    """Make a key of 256 random bits, and its entry. Raises ValueError."""
    if not re.fullmatch(NAME, name):
        raise ValueError("the name of a key must be 1 to 64 letters, digits, dots, dashes and underscores")
    key = secrets.token_urlsafe(32)
    return key, Entry(name, role, digest_of(key.encode()))
