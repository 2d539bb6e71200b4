"""Masks secrets in logs: passwords in addresses, authentication headers, and known secrets."""

import json
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"
SHORTEST = 4  # shorter texts are not secret, and masking them would hide half the log

NAMES = r"(?:proxy-)?authorization|(?:x-)?api[-_]?keys?|(?:set-)?cookie|password|passwd|requirepass|secret"
NAMED = re.compile(rf"^(?:{NAMES})$", re.IGNORECASE)
IN_ADDRESS = re.compile(  # a host and a path, in which @ hides nothing; otherwise a password may contain / ' " and @
    r"(\b[a-z][a-z0-9+.-]{0,30}://)(?:(?:[\w.-]+|\[[\da-f:.]+\])(?::\d+)?/|(\S*))", re.IGNORECASE
)
WITH_NAME = re.compile(
    rf"\b({NAMES})"
    r"(\\?[\"']?\s*[:=]\s*|\\?[\"']\s*,\s*)"  # name: value, name=value, "name": "value", (b'name', b'value')
    r"(b?\\?[\"'])?"
    r"((?:bearer|basic|digest|token)\s+)?"
    r"[^\s\"',;&)}\]\\]++(?!\\?[\"']\s*:)",  # but not a key of JSON: `"path": "/etc/passwd", "level": ...`
    re.IGNORECASE,
)
BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)

_known: set[str] = set()


def hide(*secrets: str | None) -> None:
    """Mask these secrets in every later log line."""
    for secret in secrets:
        if secret and len(secret) >= SHORTEST:
            _known.update((secret, quote(secret, safe=""), json.dumps(secret)[1:-1]))


def hide_password_of(address: str) -> None:
    password = urlsplit(address).password
    if password:
        hide(password, unquote(password))


def mask(text: str) -> str:
    """Return a log line with every secret masked."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = IN_ADDRESS.sub(_without_password, text)
    text = WITH_NAME.sub(rf"\1\2\3{HIDDEN}", text)
    return BEARER.sub(rf"\1 {HIDDEN}", text)


def _without_password(address: re.Match[str]) -> str:
    """Return an address without everything before its last @, in linear time."""
    _, at, rest = (address[2] or "").rpartition("@")
    return f"{address[1]}{HIDDEN}@{rest}" if at else address[0]


def mask_fields(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: mask the fields that have the name of a secret."""
    for name in fields:
        if NAMED.match(name):
            fields[name] = HIDDEN
    return fields
