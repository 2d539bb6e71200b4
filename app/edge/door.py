"""The door: who asks, whether they may, and whether it is too often. Everything behind it may rely on that."""

import ipaddress
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from app.edge.keys import Keyring
from app.edge.rates import LocalRate, TooFast
from app.errors import answer_no_key, too_fast

READING = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz"})
PAGE = ("/", "/page/")  # shows nothing before it was given a key, and asks for one
CALLER = "acgan.caller"  # in the scope: the name of the key that a request came with


class Door:
    def __init__(
        self, app: ASGIApp, keyring: Keyring | None = None, read_needs_key: bool = False, reads: LocalRate | None = None
    ) -> None:
        self.app = app
        self.keyring = keyring
        self.read_needs_key = read_needs_key
        self.reads = reads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        reading = scope["method"] in READING
        if reading and scope["path"] in PROBES:
            return await self.app(scope, receive, send)
        if self.keyring is not None:
            key = offered(scope["headers"])
            name = self.keyring.name_of(key) if key else None
            if name is not None:
                scope[CALLER] = name
                bind_contextvars(caller=name)
            elif not reading or (self.read_needs_key and not is_page(scope["path"])):
                return await answer_no_key(was_wrong=bool(key))(scope, receive, send)
        if reading and self.reads is not None:
            try:
                self.reads.admit(caller_of(scope))
            except TooFast as error:
                return await too_fast(error)(scope, receive, send)
        return await self.app(scope, receive, send)


def is_page(path: str) -> bool:
    return path == PAGE[0] or path.startswith(PAGE[1])


def offered(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key that a request shows: as a bearer, or else in a header of its own."""
    key = None
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key":
            key = value.strip()
    return key


def caller_of(scope: MutableMapping[str, Any]) -> str:
    """Whom to count a request for: its key's name, or else its address; of IPv6 its /64, which one host has whole."""
    if name := scope.get(CALLER):
        return f"key:{name}"
    address = str((scope.get("client") or ("unknown",))[0])
    if ":" in address:
        try:
            network = ipaddress.ip_network((address.partition("%")[0], 64), strict=False)
        except ValueError:
            return address
        return str(network.network_address)
    return address
