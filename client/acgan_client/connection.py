"""The connection to the service: address, proxy, certificates, and messages for failures.

Proxies are named by the variables that all programs read: http_proxy, HTTPS_PROXY, NO_PROXY, ... Requests to this
machine never go through a proxy: no variable changes that.
"""

import importlib.util
import ipaddress
import os
import re
import socket
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from acgan_client.errors import Misconfigured, NotUnderstood, Unreachable, printable

DEFAULT_URL = "http://127.0.0.1:8000"
SCHEMES = ("http", "https", "socks5", "socks5h")
LOCALHOST = "localhost"
NUMERIC = re.compile(r"[0-9a-fx.]+")  # forms that inet_aton accepts: 127.1, 0x7f.1
SYSTEM = "the proxy of the system settings"
HIDDEN = "***"
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


# ----------------------------------------------------------------------------
# Proxies. models/proxies.py of the service has the same functions, and a test compares them.


class InvalidProxy(ValueError):
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


def missing_certificates(*variables: str) -> str | None:
    """Return a message if one of these variables names certificates that do not exist; otherwise None."""
    for variable in variables or CERTIFICATES:
        named = {**os.environ}.get(variable)
        if named and not os.path.exists(named):
            return (
                f"{variable}={printable(named)[:300]} names a file that does not exist: correct it, or unset {variable}"
            )
    return None


# ----------------------------------------------------------------------------
# The connection.


def complete(url: str | None) -> str:
    """Return the address of the service, with http:// if it has no scheme."""
    url = (url or DEFAULT_URL).rstrip("/")
    return url if "://" in url else f"http://{url}"


class Route:
    """How to connect to one service. `url` may be shown: it has no credentials."""

    def __init__(self, url: str) -> None:
        """Raises Misconfigured, or NotUnderstood if the URL is not an address of a service."""
        self.url = without_credentials(url)
        try:
            address = httpx2.URL(url)
            self.host = address.host
            self.proxy = proxy_for(str(address))
        except (httpx2.InvalidURL, ValueError, TypeError) as error:
            raise self.no_address() from error
        self.is_encrypted = address.scheme == "https" or (self.proxy is not None and self.proxy.scheme == "https")
        if self.proxy is not None:
            check(self.proxy)

    def no_address(self) -> NotUnderstood:
        return NotUnderstood(f"{self.url} is not an address of a service: it should look like http://127.0.0.1:8000")

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of an httpx2 client. Raises Misconfigured."""
        context = self._certificates()
        proxy = None
        if self.proxy is not None:
            try:
                proxy = httpx2.Proxy(self.proxy.url, ssl_context=context if self.proxy.scheme == "https" else None)
            except (httpx2.InvalidURL, ValueError) as error:
                raise Misconfigured(f"{self.proxy} is not an address of a proxy: correct it") from error
        return {"proxy": proxy, "verify": context, "trust_env": False, "follow_redirects": False}

    def _certificates(self) -> ssl.SSLContext:
        if not self.is_encrypted:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if missing := missing_certificates():
            raise Misconfigured(missing)
        try:
            return httpx2.create_ssl_context()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise Misconfigured(f"SSL_CERT_FILE or SSL_CERT_DIR contains no certificates: {error}") from error

    def not_connected(self, error: httpx2.ConnectError) -> Unreachable:
        if self.proxy is not None:
            return Unreachable(
                f"the proxy {self.proxy} does not respond ({error}): unset {self.proxy.variable}, or add {self.host} "
                "to NO_PROXY"
            )
        if "SSL" in str(error) or "CERTIFICATE" in str(error).upper():
            return Unreachable(
                f"{self.url} responds, but its TLS connection is not trusted here ({error}): set SSL_CERT_FILE to the "
                "certificate file of its authority, or use http:// if it has no TLS"
            )
        return Unreachable(
            f"nothing answers at {self.url}: start a service with `acgan up`, or set the address of yours"
        )

    def refused(self, error: Exception) -> Unreachable:
        """Return the error for a proxy that did not connect to the service."""
        named = self.proxy or "in between"
        return Unreachable(f"the proxy {named} does not connect to {self.host}: {error or type(error).__name__}")

    @property
    def by(self) -> str:
        """Return the words that name the proxy in a message about a response, or an empty string."""
        return f", through the proxy {self.proxy}," if self.proxy else ""


def check(proxy: Proxy) -> None:
    """Raises Misconfigured if the proxy cannot be used."""
    try:
        proxy.check(SCHEMES)
    except InvalidProxy as error:
        raise Misconfigured(str(error)) from None
    if proxy.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise Misconfigured(
            f"the proxy {proxy} needs the package socksio, which is not installed: pip install socksio, or unset "
            f"{proxy.variable}"
        )
