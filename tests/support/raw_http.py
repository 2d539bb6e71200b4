"""Sends raw bytes over a socket, as no well-behaved client does, and reads the response."""

import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

HOST = b"Host: localhost\r\n"
HEAD = b"GET /livez HTTP/1.1\r\n" + HOST
GET = HEAD + b"\r\n"
POST = b"POST /train HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


class Received(NamedTuple):
    """Everything received until the other side closed the connection or the time was over."""

    data: bytes
    closed: bool
    seconds: float

    @property
    def statuses(self) -> list[int]:
        """The status of every response, including unsolicited ones."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.data)]


@contextmanager
def connected(address: str, small: bool = False) -> Iterator[socket.socket]:
    there = urlsplit(address)
    with socket.socket() as made:
        if small:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(60)
        made.connect((there.hostname, there.port))
        yield made


def receive(connection: socket.socket, seconds: float = 30.0) -> Received:
    data, began = b"", time.monotonic()
    connection.settimeout(seconds)
    try:
        while piece := connection.recv(65536):
            data += piece
    except TimeoutError:
        return Received(data, False, time.monotonic() - began)
    except ConnectionError:
        pass
    return Received(data, True, time.monotonic() - began)


def send_raw(address: str, sent: bytes | Iterable[bytes], pause: float = 0.0, seconds: float = 30.0) -> Received:
    """Send the pieces one after the other until the other side stops accepting them; then read."""
    with connected(address) as connection:
        try:
            for piece in [sent] if isinstance(sent, bytes) else sent:
                connection.sendall(piece)
                if pause:
                    time.sleep(pause)
        except ConnectionError:
            pass
        return receive(connection, seconds)
