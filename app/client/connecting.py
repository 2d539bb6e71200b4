"""The connection to the service: proxy, certificates, and messages for failures."""

import importlib.util
import ssl
from typing import Any

import httpx2

from app.client.errors import Misconfigured, NotUnderstood, Unreachable
from models.proxies import InvalidProxy, Proxy, missing_certificates, proxy_for, without_credentials

SCHEMES = ("http", "https", "socks5", "socks5h")


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
        if missing := missing_certificates("SSL_CERT_FILE", "SSL_CERT_DIR"):
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
