"""Ports for the servers of tests.

They are below the ports that the system gives to connections (32768 and more on Linux), so that no connection takes one
before the server has started. Processes that test at the same time begin at different numbers.
"""

import itertools
import os
import socket
from collections.abc import Iterator

FIRST, COUNT = 20_000, 12_000
SPACING = 997  # between the first numbers of processes with consecutive ids


def numbers() -> Iterator[int]:
    begin = os.getpid() * SPACING
    return (FIRST + (begin + place) % COUNT for place in itertools.count())


_numbers = numbers()


def free_port() -> int:
    """Return a port on which nothing listens, and which this process has not returned before."""
    for port in itertools.islice(_numbers, COUNT):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"all ports from {FIRST} to {FIRST + COUNT - 1} are in use")
