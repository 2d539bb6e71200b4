"""The way of figures from the process that trains to its parent: a pair of sockets that the child inherits.

The pair has no address, so that no other process can send figures, or stop those that come.
"""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from billiard.context import get_spawning_popen

BUFFER = 1 << 20  # bytes of figures that wait for the parent
LONGEST = 4096  # bytes of one figure
NAME = "acgan_metrics_line"  # the entry of Celery's configuration, which travels to the child


class Line:
    """Both ends. The parent keeps them for as long as it lives; each of its children inherits one."""

    def __init__(self) -> None:
        self.reading, self.writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.reading, self.writing):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.writing.setblocking(False)

    def read(self, seconds: float) -> bytes | None:
        """Return what came, cut to LONGEST bytes; None after that many seconds without anything."""
        self.reading.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            return self.reading.recv(LONGEST)
        return None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Pickle the writing end for a process that billiard is about to start, and for that one only."""
        popen = get_spawning_popen()
        return (_nothing, ()) if popen is None else (Sender, (popen.duplicate_for_child(self.writing.fileno()),))


class Sender:
    """The child's end: `Line`, as it is unpickled there."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)

    def send(self, datagram: bytes) -> None:
        """Send without waiting: a figure that the parent cannot take is lost."""
        with contextlib.suppress(OSError):
            self.socket.send(datagram)


def _nothing() -> None:
    return None
