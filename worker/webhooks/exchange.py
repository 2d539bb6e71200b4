"""One POST over HTTPS to a given address: no redirects, no proxies, one time limit, and almost nothing is read."""

import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence

from worker.webhook_url import WebhookUrl

MOST_READ = 1024  # bytes of a response
INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
STATUS = re.compile(rb"HTTP/1\.[01] ([2-5]\d\d)(?: [^\n]*|\r)?\n")


class NoAnswer(Exception):
    """The connection ended, or 1 KB arrived, without the status of a response."""


class TimeLimit:
    """The rest of a time, in seconds."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Raises TimeoutError if nothing is left."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def post(
    url: WebhookUrl,
    addresses: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    context: ssl.SSLContext,
    limit: TimeLimit,
) -> int:
    """Send a request to one of the addresses, the first that accepts a connection. Returns the status.

    The certificate must be valid for the host of the URL. Raises OSError, TimeoutError, ssl.SSLError and NoAnswer.
    """
    lines = [f"POST {url.target} HTTP/1.1", f"Host: {url.authority}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with connect(addresses, url.port, limit) as plain:
        plain.settimeout(limit.left)
        with context.wrap_socket(plain, server_hostname=url.host) as connection:
            connection.settimeout(limit.left)
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            return read_status(connection, limit)


def connect(addresses: Sequence[str], port: int, limit: TimeLimit) -> socket.socket:
    """Connect to the first address that answers. Each gets an equal part of the rest of the time. Raises OSError."""
    failure: OSError = ConnectionError("it has no address")
    for tried, address in enumerate(addresses):
        try:
            return socket.create_connection((address, port), limit.left / (len(addresses) - tried))
        except OSError as error:
            failure = error
    raise failure


def read_status(connection: socket.socket, limit: TimeLimit) -> int:
    """Read at most 1 KB until the status of the final response. Raises NoAnswer, OSError."""
    answer = b""
    while len(answer) < MOST_READ:
        connection.settimeout(limit.left)
        if not (piece := connection.recv(MOST_READ - len(answer))):
            break
        answer += piece
        if match := STATUS.match(INTERIM.sub(b"", answer)):
            return int(match[1])
    raise NoAnswer
