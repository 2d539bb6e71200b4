"""A worker that is told to stop hands its job back within an iteration, instead of waiting hours for its end.

Celery's warm shutdown waits for the running task; the parent process passes the word on to the one that trains.
"""

import os
import signal
import threading
from contextlib import suppress

from billiard import active_children

OF_THE_GROUP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_requested = threading.Event()


class Interrupted(Exception):
    """This worker is about to end; somebody else, or it itself later, is to run the job."""


def listen() -> None:
    """In the training process: heed the parent's signal, and leave to the parent those that reach the whole group.

    Ctrl-C, systemd and a closed terminal signal every process of a group at once: a training process that ended over
    it could not save its state. The parent gets the same signal and passes it on.
    """
    signal.signal(signal.SIGUSR2, lambda *_: _requested.set())
    for sign in OF_THE_GROUP:
        signal.signal(sign, signal.SIG_IGN)


def children() -> list[int]:
    """In the parent process: the process ids of its training processes."""
    return [child.pid for child in active_children() if child.pid is not None]


def pass_on() -> None:
    """In the parent process: tell the training process to stop."""
    for pid in children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR2)


def end_on_hangup() -> None:
    """In the parent process: treat SIGHUP like SIGTERM. Celery would run its command line again, which is not one."""
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def check() -> None:
    """Raises Interrupted once the word has come."""
    if _requested.is_set():
        raise Interrupted
