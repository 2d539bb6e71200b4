"""Parses host names and origins in settings, in lower case."""

from models.host_names import Host, read_host

PORTS = {"http": 80, "https": 443}
LOCALHOST = "localhost"


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
