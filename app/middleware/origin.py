"""Rejects changes by web pages of other origins (CSRF), and host names that are not allowed (DNS rebinding)."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.middleware.authentication import PROBES, READING
from app.middleware.forwarded_headers import FORWARDED_HOST
from app.problems.refusals import answer_bad_host, answer_foreign_origin, answer_wrong_host
from app.security.host_names import PORTS, AllowedHosts
from models.host_names import Host, read_host

OWN_SITES = frozenset({b"same-origin", b"none"})
NULL = b"null"


class OriginCheck:
    """Returns 421 if `Host` is not allowed, and 403 if a page of another origin sends a change.

    Browsers send the relation of page and service in `Sec-Fetch-Site`, which pages cannot set; older browsers send
    `Origin` only. Programs send neither and are accepted. `allowed` is None if every host name is allowed.
    """

    def __init__(self, app: ASGIApp, allowed: AllowedHosts | None, trusted_origins: Iterable[str] = ()) -> None:
        self.app = app
        self.allowed = allowed
        self.trusted_origins = frozenset(origin.lower().encode() for origin in trusted_origins) - {NULL}
        self.is_welcome = lru_cache(maxsize=1024)(self._is_welcome)  # called for every request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        reading, forwarded = scope["method"] in READING, scope.get(FORWARDED_HOST)
        host = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
                break
        if not (reading and forwarded is None and self.is_welcome(host)) and (refusal := self.refusal(scope)):
            return await refusal(scope, receive, send)
        return await self.app(scope, receive, send)

    def _is_welcome(self, written: bytes) -> bool:
        host = read_host(written.decode("latin-1"))
        return host is not None and (self.allowed is None or host in self.allowed)

    def refusal(self, scope: Scope) -> Response | None:
        """Return the error response to a request; None if it is accepted."""
        hosts = named_hosts(scope)
        named = [host for host in hosts if host is not None]
        if not hosts or len(named) < len(hosts):
            return answer_bad_host()
        if self.allowed is not None and scope["path"] not in PROBES:
            for host in named:
                if host not in self.allowed:
                    return answer_wrong_host(host.name)
        if scope["method"] not in READING and self.is_foreign(scope["headers"], named):
            return answer_foreign_origin()
        return None

    def is_foreign(self, headers: Iterable[tuple[bytes, bytes]], hosts: list[Host]) -> bool:
        sites = [value.strip().lower() for name, value in headers if name == b"sec-fetch-site"]
        origins = [value.strip().lower() for name, value in headers if name == b"origin"]
        if NULL in origins:
            return True
        if origins and self.trusted_origins.issuperset(origins):
            return False
        if sites:
            return not OWN_SITES.issuperset(sites)
        return not all(is_one_of(hosts, origin) for origin in origins)


def named_hosts(scope: Scope) -> list[Host | None]:
    """Return `Host` and, from a trusted proxy, the forwarded host; None for a malformed one."""
    written = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(written) != 1:
        return []
    forwarded = scope.get(FORWARDED_HOST)
    return [read_host(text) for text in (written if forwarded is None else [*written, forwarded])]


def is_one_of(hosts: list[Host], origin: bytes) -> bool:
    """Return whether an origin such as `https://example.com:8443` belongs to one of these hosts."""
    try:
        scheme, netloc, path, query, fragment = urlsplit(origin.decode("latin-1"))
    except ValueError:
        return False
    asked = read_host(netloc)
    if asked is None or scheme not in PORTS or path or query or fragment:
        return False
    usual = PORTS[scheme]
    return any(host.name == asked.name and (host.port or usual) == (asked.port or usual) for host in hosts)
