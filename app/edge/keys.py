"""Keys to the API: told apart by name, kept as digests, compared in a time that tells nothing."""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

NAME = r"[A-Za-z0-9._-]{1,64}"
ENTRY = re.compile(rf"({NAME}):([0-9a-fA-F]{{64}})")


class Entry(NamedTuple):
    """A key's place in ACGAN_API_KEYS."""

    name: str
    digest: bytes

    def __str__(self) -> str:
        return f"{self.name}:{self.digest.decode()}"


class Keyring(NamedTuple):
    entries: tuple[Entry, ...]

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Read ACGAN_API_KEYS. Raises ValueError, whose message shows nothing of what it read: it may be a key."""
        entries = []
        words = text.replace(",", " ").split()
        for number, word in enumerate(words, 1):
            if not (found := ENTRY.fullmatch(word)):
                raise ValueError(
                    f"should be entries like NAME:SHA256, separated by spaces or commas, and entry {number} is not: "
                    "`acgan key NAME` makes one; the key itself does not belong here"
                )
            entries.append(Entry(found[1], found[2].lower().encode()))
        if not entries:
            raise ValueError("should name at least one key: `acgan key NAME` makes one; unset it to have none")
        return cls(tuple(entries))

    def name_of(self, key: bytes) -> str | None:
        """Whose key this is. Every entry is compared to its end, whichever matches."""
        digest, name = digest_of(key), None
        for entry in self.entries:
            if hmac.compare_digest(entry.digest, digest):
                name = entry.name
        return name


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).hexdigest().encode()


def make_key(name: str) -> tuple[str, Entry]:
    """Make a fresh key of 256 random bits, and its entry. Raises ValueError."""
    if not re.fullmatch(NAME, name):
        raise ValueError("a key's name is 1 to 64 letters, digits, dots, dashes and underscores")
    key = secrets.token_urlsafe(32)
    return key, Entry(name, digest_of(key.encode()))
