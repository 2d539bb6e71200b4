"""The channel for metrics from the training process to its parent: a pair of sockets that the child inherits.

The pair has no address, so no other process can send metrics or block the channel.
"""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from billiard.context import get_spawning_popen

BUFFER = 1 << 20  # bytes of metrics that wait for the parent
LONGEST = 4096  # bytes of one datagram
NAME = "acgan_metrics_line"  # entry in Celery's configuration, which the child receives


class Line:
    """Both ends of the channel. The parent keeps them until it ends; each of its children inherits one."""

    def __init__(self) -> None:
        self.reading, self.writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.reading, self.writing):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.writing.setblocking(False)

    def read(self, seconds: float) -> bytes | None:
        """Return one datagram, cut to LONGEST bytes; None if none comes within `seconds`."""
        self.reading.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            return self.reading.recv(LONGEST)
        return None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Pickle the writing end, only for a process that billiard starts now."""
        popen = get_spawning_popen()
        return (_nothing, ()) if popen is None else (Sender, (popen.duplicate_for_child(self.writing.fileno()),))


class Sender:
    """The child's end: a `Line` is unpickled as this."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)

    def send(self, datagram: bytes) -> None:
        """Send without waiting. If the buffer is full, the datagram is lost."""
        with contextlib.suppress(OSError):
            self.socket.send(datagram)


def _nothing() -> None:
    return None
