"""Parses host names of requests and settings into name and port, in lower case."""

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
WRITTEN = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d{0,5}))?")
LONGEST = 262  # characters of a name, its final dot, a colon and a port
PORTS = {"http": 80, "https": 443}
LOCALHOST = "localhost"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Host(NamedTuple):
    """A host and its port; `port` is None if the text has none."""

    name: str  # in lower case, without brackets and the final dot
    port: int | None
    is_address: bool


@lru_cache(maxsize=1024)
def read_host(text: str) -> Host | None:
    """Parse `name`, `name:8000`, `192.0.2.1:8000` or `[::1]:8000`. Returns None if the text is malformed."""
    match = WRITTEN.fullmatch(text.lower()) if len(text) <= LONGEST else None
    if match is None:
        return None
    name, port = match[1], int(match[2]) if match[2] else None
    if port is not None and port > 65535:
        return None
    address = read_address(name[1:-1] if name.startswith("[") else name)
    if address is not None and (address.version == 6) == name.startswith("["):
        return Host(str(address), port, True)
    name = name.removesuffix(".")
    return Host(name, port, False) if NAME.fullmatch(name) else None


def read_address(text: str) -> Address | None:
    """Parse an IP address and ignore the zone of IPv6. Returns None if the text is malformed."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


class AllowedHosts:
    """The host names that requests may use: IP addresses, localhost, and the names in the settings.

    The check prevents DNS rebinding: a web page can make its own name resolve to 127.0.0.1, but cannot change `Host`.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = frozenset(name for name in names if not name.startswith("*."))
        self.suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def __contains__(self, host: Host) -> bool:
        if host.is_address or host.name == LOCALHOST or host.name.endswith(f".{LOCALHOST}"):
            return True
        return host.name in self.names or host.name.endswith(self.suffixes)


def read_names(text: str) -> list[str]:
    """Parse names separated by spaces or commas; `*.example.com` matches all subdomains. Raises ValueError."""
    names = [name.lower().removesuffix(".") for name in text.replace(",", " ").split()]
    for name in names:
        host = read_host(name.removeprefix("*."))
        if host is None or host.is_address or host.port is not None:
            raise ValueError(
                "should be host names without ports, separated by spaces or commas, as in "
                f"`digits.example.com *.example.net`, but {name[:80]!r} is not one"
            )
    return names


def read_origins(text: str) -> list[str]:
    """Parse origins such as `https://example.com:8443`, separated by spaces or commas. Raises ValueError.

    `*` and `null` are refused: any web page could then use the API.
    """
    origins = [origin.lower() for origin in text.replace(",", " ").split()]
    for origin in origins:
        scheme, separator, netloc = origin.partition("://")
        host = read_host(netloc) if separator and netloc else None
        if host is None or scheme not in PORTS or host.port == PORTS[scheme]:
            raise ValueError(
                "should be origins as browsers send them, separated by spaces or commas, as in `https://example.com "
                f"http://localhost:3000`, without a path and without the usual port, but {origin[:80]!r} is not one"
            )
    return origins
