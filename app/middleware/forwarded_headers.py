"""Reads `X-Forwarded-*` headers of trusted proxies: the client's address, the scheme, the host and the path prefix."""

from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from app.security.trusted_proxies import Proxies
from models.host_names import Address, read_address, read_host

# In the scope: the host in the client's request to the proxy, and the path under which the proxy serves the API.
FORWARDED_HOST, FORWARDED_PREFIX = "acgan.forwarded_host", "acgan.forwarded_prefix"
SCHEMES = ("http", "https")


class ForwardedHeaders:
    """Replaces `client` and `scheme` of requests from a trusted proxy. Must be the outermost middleware."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self.app = app
        self.proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("client")
        if scope["type"] == "http" and plain_address(peer[0] if peer else "") in self.proxies:
            headers = scope["headers"]
            if caller := self.caller(values(headers, b"x-forwarded-for")):
                scope["client"] = (str(caller), 0)
            schemes = values(headers, b"x-forwarded-proto")
            if schemes and schemes[-1] in SCHEMES:
                scope["scheme"] = schemes[-1]
            if hosts := values(headers, b"x-forwarded-host"):
                scope[FORWARDED_HOST] = hosts[-1]
            if prefixes := values(headers, b"x-forwarded-prefix"):
                scope[FORWARDED_PREFIX] = prefixes[-1]
        await self.app(scope, receive, send)

    def caller(self, chain: list[str]) -> Address | None:
        """Return the last address of the chain that is not a trusted proxy; each proxy appends its peer's address.

        Returns None if there is none or if it is malformed: the address of the proxy is then used.
        """
        caller = None
        for written in reversed(chain):
            host = read_host(written)
            caller = plain_address(host.name if host else written)
            if caller is None or self.proxies.networks is None or caller not in self.proxies:
                break
        return caller


def values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    joined = b",".join(value for name, value in headers if name == wanted).decode("latin-1")
    return [value.strip() for value in joined.split(",") if value.strip()]


@lru_cache(maxsize=4096)
def plain_address(text: str) -> Address | None:
    """Parse an address. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is returned as IPv4."""
    address = read_address(text)
    return getattr(address, "ipv4_mapped", None) or address
