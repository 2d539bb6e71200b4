"""What no log may tell: passwords in addresses, headers that let somebody in, and whatever was named to us."""

import json
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"
SHORTEST = 4  # a shorter one would black out half the log, and is no secret

NAMES = r"(?:proxy-)?authorization|(?:x-)?api[-_]?keys?|(?:set-)?cookie|password|passwd|requirepass|secret"
NAMED = re.compile(rf"^(?:{NAMES})$", re.IGNORECASE)
IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/'\"]*@", re.IGNORECASE)
WITH_NAME = re.compile(
    rf"\b({NAMES})"
    r"(\\?[\"']?\s*[:=]\s*|\\?[\"']\s*,\s*)"  # name: value, name=value, "name": "value", (b'name', b'value')
    r"(b?\\?[\"'])?"
    r"((?:bearer|basic|digest|token)\s+)?"
    r"[^\s\"',;&)}\]\\]++(?!\\?[\"']\s*:)",  # but no key of JSON: `"path": "/etc/passwd", "level": ...`
    re.IGNORECASE,
)
BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)

_known: set[str] = set()


def hide(*secrets: str | None) -> None:
    """From now on, show none of these, in whatever place."""
    for secret in secrets:
        if secret and len(secret) >= SHORTEST:
            _known.update((secret, quote(secret, safe=""), json.dumps(secret)[1:-1]))


def hide_password_of(address: str) -> None:
    password = urlsplit(address).password
    if password:
        hide(password, unquote(password))


def mask(text: str) -> str:
    """Blot out every secret in a line that is about to be written."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = IN_ADDRESS.sub(rf"\1{HIDDEN}@", text)
    text = WITH_NAME.sub(rf"\1\2\3{HIDDEN}", text)
    return BEARER.sub(rf"\1 {HIDDEN}", text)


def mask_fields(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: blot out the fields whose very name says that they are secret."""
    for name in fields:
        if NAMED.match(name):
            fields[name] = HIDDEN
    return fields
