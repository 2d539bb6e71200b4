"""Addresses that receive a message at a job's end, and the settings about them."""

import base64
import binascii
import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from models.host_names import read_host

LONGEST = 2000  # characters
VISIBLE = re.compile(r"[\x21-\x7e]+")
PORT = 443
SECRET_PREFIX = "whsec_"  # noqa: S105  # of the secrets of Standard Webhooks
SECRET_BYTES = range(24, 65)


class Endpoint(NamedTuple):
    """A host and a port to which the operator allows messages."""

    host: str  # as that of a WebhookUrl
    port: int = PORT


class WebhookUrl(NamedTuple):
    """An https address. `target`, its path and query, may be secret: it appears in no log and no response."""

    host: str  # in lower case: a name without its final dot, or an IP address without brackets
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORT else f"{host}:{self.port}"


def read_webhook_url(text: str) -> WebhookUrl:
    """Raises ValueError whose message does not contain the address."""
    if len(text) > LONGEST or not VISIBLE.fullmatch(text):
        raise ValueError(f"should be an address of at most {LONGEST} visible ASCII characters, without spaces")
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or not parts.netloc:
        raise ValueError("should be an address such as https://hooks.example.com/acgan")
    if "@" in parts.netloc or "#" in text:
        raise ValueError("should be an address without a user, a password and a fragment")
    host = read_host(parts.netloc)
    if host is None or host.port == 0:
        raise ValueError("should be an address with a valid host and port")
    query = f"?{parts.query}" if parts.query else ""
    return WebhookUrl(host.name, host.port or PORT, (parts.path or "/") + query)


def allows(receivers: Collection[Endpoint], host: str, port: int) -> bool:
    """Whether the operator lists this host with this port. A caller chooses neither freely."""
    return Endpoint(host, port) in receivers


def read_webhook_hosts(text: str) -> frozenset[Endpoint]:
    """Parse entries `host` (port 443) and `host:port`, separated by spaces or commas. Raises ValueError."""
    receivers = set()
    for entry in text.replace(",", " ").split():
        host = read_host(f"[{entry}]" if entry.count(":") > 1 and not entry.startswith("[") else entry)
        if host is None or host.port == 0:
            raise ValueError(
                "should be host names or IP addresses, each with its port unless that is 443, separated by spaces or "
                f"commas, as in `hooks.example.com 192.0.2.7:8443`, but {entry[:80]!r} is not one"
            )
        receivers.add(Endpoint(host.name, host.port or PORT))
    return frozenset(receivers)


def read_webhook_secrets(text: str) -> list[bytes]:
    """Decode one secret or more, separated by spaces. Raises ValueError whose message contains no part of them."""
    secrets = []
    for secret in text.split():
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
            raise ValueError(
                f"should be `{SECRET_PREFIX}` and the base64 form of {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} "
                f'bytes, as `echo "{SECRET_PREFIX}$(openssl rand -base64 32)"` prints it'
            )
        secrets.append(key)
    if not secrets:
        raise ValueError("should be one secret or more, separated by spaces")
    return secrets
