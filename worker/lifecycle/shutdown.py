"""Shutdown: a stopping worker hands its job back within an iteration, instead of hours later at the job's end.

Celery's warm shutdown waits for the running task, so the parent process forwards the request to the training process.
"""

import os
import signal
import threading
from contextlib import suppress

from billiard import active_children

OF_THE_GROUP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_requested = threading.Event()


class Interrupted(Exception):
    """This worker is shutting down. The job goes back to the queue."""


def listen() -> None:
    """In the training process: react to the parent's signal, and ignore signals that reach the whole process group.

    Ctrl-C, systemd and a closed terminal signal every process of a group at once. If the signal ended the training
    process, its state would not be saved. The parent gets the same signal and forwards it.
    """
    signal.signal(signal.SIGUSR2, lambda *_: _requested.set())
    for sign in OF_THE_GROUP:
        signal.signal(sign, signal.SIG_IGN)


def children() -> list[int]:
    """In the parent process: return the process ids of its training processes."""
    return [child.pid for child in active_children() if child.pid is not None]


def pass_on() -> None:
    """In the parent process: forward the shutdown to the training processes."""
    for pid in children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR2)


def end_on_hangup() -> None:
    """In the parent process: treat SIGHUP like SIGTERM. Celery would rerun its command line, which is not valid."""
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def check() -> None:
    """Raises Interrupted if this worker is shutting down."""
    if _requested.is_set():
        raise Interrupted
