"""A worker that is told to stop hands its job back within an iteration, instead of waiting hours for its end.

Celery's warm shutdown waits for the running task; the parent process passes the word on to the one that trains.
"""

import os
import signal
import threading

from billiard import active_children

_requested = threading.Event()


class Interrupted(Exception):
    """This worker is about to end; somebody else, or it itself later, is to run the job."""


def listen() -> None:
    """In the training process: let the parent's signal be heard."""
    signal.signal(signal.SIGUSR2, lambda *_: _requested.set())


def pass_on() -> None:
    """In the parent process: tell the training process to stop."""
    for child in active_children():
        os.kill(child.pid, signal.SIGUSR2)


def check() -> None:
    """Raises Interrupted once the word has come."""
    if _requested.is_set():
        raise Interrupted
