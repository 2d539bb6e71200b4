"""Host names and IP addresses as URLs and settings have them."""

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
WRITTEN = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d{0,5}))?")
LONGEST = 262  # characters of a name, its final dot, a colon and a port

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
