"""Authentication: finds the key of a request, rejects requests without a required key, and limits the read rate."""

import ipaddress
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from app.middleware.cache_control import keep_private
from app.middleware.forwarded_headers import plain_address
from app.middleware.response_headers import with_headers
from app.problems.codes import PREFIX as PROBLEMS
from app.problems.problem import answer_error
from app.problems.refusals import answer_no_key
from app.security.api_keys import Keyring, Role
from app.security.caller import CALLER, KEYED, ROLE, NotAllowed, require
from app.security.rate_limit import LocalRate, TooFast

READING = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz"})
PUBLIC = ("/page/", PROBLEMS)  # with `/`: static files that ask the user for the key, and descriptions of errors


class AuthenticationMiddleware:
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
        reading, path = scope["method"] in READING, scope["path"]
        if reading and path in PROBES:
            return await self.app(scope, receive, send)
        needs_key = not reading or (self.read_needs_key and not is_public(path))
        refusal = None if self.keyring is None else find_caller(scope, self.keyring, needs_key)
        limits: dict[str, str] = {}
        try:
            if not reading and refusal is None:
                require(scope, Role.TRAIN)
            elif self.reads is not None:  # refused keys count too
                limits = self.reads.admit(caller_of(scope))
        except (NotAllowed, TooFast) as error:
            return await answer_error(error)(scope, receive, send)
        if refusal is not None:
            return await refusal(scope, receive, send)
        if limits:
            send = with_headers(send, lambda headers: headers.update(limits))
        is_private = self.read_needs_key and not is_public(path)
        return await self.app(scope, receive, keep_private(send, path) if is_private else send)


def find_caller(scope: Scope, keyring: Keyring, needs_key: bool) -> ASGIApp | None:
    """Note the caller in the scope. Returns the response to a request that lacks a needed key; otherwise None."""
    scope[KEYED] = True
    key = offered(scope["headers"])
    entry = keyring.entry_of(key) if key else None
    if entry is None:
        return answer_no_key(was_wrong=bool(key)) if needs_key else None
    scope[CALLER], scope[ROLE] = entry.name, entry.role
    bind_contextvars(caller=entry.name)
    return None


def is_public(path: str) -> bool:
    return path == "/" or path.startswith(PUBLIC)


def offered(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the key of a request, from `Authorization: Bearer` or else from `X-API-Key`."""
    key = None
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key":
            key = value.strip()
    return key


def caller_of(scope: MutableMapping[str, Any]) -> str:
    """Return the name that rate limits count: `key:NAME` or `ip:ADDRESS`; for IPv6 the /64, assigned to one host."""
    if name := scope.get(CALLER):
        return f"key:{name}"
    client = scope.get("client")
    address = plain_address(str(client[0]) if client else "")
    if isinstance(address, ipaddress.IPv6Address):
        return f"ip:{ipaddress.ip_network((address, 64), strict=False)}"
    return f"ip:{address or 'unknown'}"
