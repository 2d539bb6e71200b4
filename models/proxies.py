"""Finds the proxy of a request, from the variables that many programs read: http_proxy, HTTPS_PROXY, NO_PROXY, ...

Requests to this machine never go through a proxy: no variable changes that. Free of libraries.
"""

import ipaddress
import os
import re
import socket
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from models.bounded_reading import printable
from models.errors import InvalidInput

LOCALHOST = "localhost"
NUMERIC = re.compile(r"[0-9a-fx.]+")  # forms that inet_aton accepts: 127.1, 0x7f.1
SYSTEM = "the proxy of the system settings"
HIDDEN = "***"
EXEMPT = (LOCALHOST, f".{LOCALHOST}", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class InvalidProxy(InvalidInput, code="invalid-proxy"):
    """A proxy variable names no proxy that can be used. The message is a sentence without credentials."""


class Proxy(NamedTuple):
    """A proxy, and the variable that names it."""

    variable: str
    value: str

    def __str__(self) -> str:
        shown = without_credentials(self.value)
        return f"{self.variable} ({shown})" if self.variable == SYSTEM else f"{self.variable}={shown}"

    @property
    def url(self) -> str:
        return self.value if "://" in self.value else f"http://{self.value}"

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0].lower()

    def check(self, schemes: tuple[str, ...]) -> None:
        """Raises InvalidProxy if the value is malformed, or of a scheme that is not among these."""
        try:
            parts = urlsplit(self.url)
            is_valid = bool(parts.hostname) and parts.port != 0 and self.value.isprintable() and " " not in self.value
        except ValueError:
            is_valid = False
        if not is_valid:
            raise InvalidProxy(f"{self} is not the address of a proxy: correct it, or unset {self.variable}")
        if self.scheme not in schemes:
            raise InvalidProxy(
                f"{self} names a kind of proxy that cannot be used here: unset {self.variable}, or name one of "
                f"{', '.join(schemes)}"
            )


def without_credentials(url: str) -> str:
    """Return the URL as it may be shown: without user and password, and without control characters."""
    return printable(re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", rf"\1{HIDDEN}@", url, flags=re.DOTALL))[:300]


def is_this_machine(host: str) -> bool:
    """Whether a host name or address is the loopback of this machine: localhost, *.localhost, 127.0.0.0/8, ::1."""
    name = host.lower().strip("[]").rstrip(".")
    if name == LOCALHOST or name.endswith(f".{LOCALHOST}"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return _is_short_loopback(name)
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _is_short_loopback(name: str) -> bool:
    if NUMERIC.fullmatch(name) is None:
        return False
    try:
        return socket.inet_aton(name)[0] == 127
    except OSError:
        return False


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for a URL, unchecked, or None if the request goes to its host directly.

    Raises ValueError if the URL itself is malformed.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if is_this_machine(host):
        return None
    variables = {name: value.strip() for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    if proxy := _named(variables, parts.scheme):
        exempt = variables.get("no_proxy", variables.get("NO_PROXY", ""))
        return None if _is_exempt(host, port, exempt) else proxy
    system = getproxies().get(parts.scheme)  # Windows and macOS have settings besides the variables
    return None if system is None or proxy_bypass(host) else Proxy(SYSTEM, system)


def _named(variables: dict[str, str], scheme: str) -> Proxy | None:
    """Prefer a name in lower case, even if its value is empty. In a CGI program, HTTP_PROXY is a header and ignored."""
    for kind in (scheme, "all"):
        lower, upper = f"{kind}_proxy", f"{kind}_proxy".upper()
        name = lower if lower in variables else upper
        if name == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ:
            continue
        if value := variables.get(name):
            return Proxy(name, value)
    return None


def _is_exempt(host: str, port: int | None, exempt: str) -> bool:
    """Whether NO_PROXY names the host: itself, a domain above it, a network, with or without a port, or `*`."""
    name = host.lower().rstrip(".")
    for entry in re.split(r"[,\s]+", exempt.lower()):
        domain, _, number = entry.rpartition(":") if re.fullmatch(r"[^:]+:\d+|\[.*\]:\d+", entry) else (entry, "", "")
        if number and number != str(port):
            continue
        domain = domain.partition("://")[2] or domain
        domain = domain.strip("[]").removeprefix("*").lstrip(".").rstrip(".")
        if entry == "*" or (domain and (name == domain or name.endswith(f".{domain}") or _is_in_network(name, domain))):
            return True
    return False


def _is_in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def exempt_this_machine() -> None:
    """Add the loopback to NO_PROXY, for libraries that read the variables themselves. Keeps the other entries."""
    for variable in ("no_proxy", "NO_PROXY"):
        named = {**os.environ}.get(variable, {**os.environ}.get("NO_PROXY", ""))
        entries = [entry.strip() for entry in named.split(",") if entry.strip()]
        if "*" not in entries:
            os.environ[variable] = ",".join([*entries, *(name for name in EXEMPT if name not in entries)])


def missing_certificates(*variables: str) -> str | None:
    """Return a message if one of these variables names certificates that do not exist; otherwise None."""
    for variable in variables or CERTIFICATES:
        named = {**os.environ}.get(variable)
        if named and not os.path.exists(named):
            return (
                f"{variable}={printable(named)[:300]} names a file that does not exist: correct it, or unset {variable}"
            )
    return None
