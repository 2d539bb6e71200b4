"""Shutdown: a stopping worker hands its job back within an iteration, instead of hours later at the job's end.

Celery's warm shutdown waits for the running task, so the parent process forwards the request to the training process.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

from billiard import active_children

from worker.lifecycle.signal_flag import SignalFlag

OF_THE_GROUP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REQUEST = signal.SIGUSR2  # of the parent process to its training processes

_requested = SignalFlag()


class Interrupted(Exception):
    """This worker is shutting down. The job goes back to the queue."""


def keep_requests() -> None:
    """In the parent process: a request that reaches a later training process before it listens waits until it does.

    Otherwise the request would end the process. A process inherits the blocked signals of its parent.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [REQUEST])


def listen() -> None:
    """In the training process: react to the parent's signal, and ignore signals that reach the whole process group.

    Ctrl-C, systemd and a closed terminal signal every process of a group at once. If the signal ended the training
    process, its state would not be saved. The parent gets the same signal and forwards it.
    """
    signal.signal(REQUEST, lambda *_: _requested.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [REQUEST])
    for sign in OF_THE_GROUP:
        signal.signal(sign, signal.SIG_IGN)


def children() -> list[int]:
    """In the parent process: return the process ids of its training processes."""
    return [child.pid for child in active_children() if child.pid is not None]


def pass_on() -> None:
    """In the parent process: forward the shutdown to the training processes."""
    for pid in children():
        with suppress(ProcessLookupError):
            os.kill(pid, REQUEST)


def handle_one_signal_at_a_time() -> None:
    """In the parent process: use Celery's handlers of SIGTERM, and of SIGQUIT for a second Ctrl-C, but not nested.

    A signal that arrives while another is handled is ignored: Celery's handlers take locks, and the second one would
    wait for ever for the first. SIGHUP is treated like SIGTERM: Celery would run its command line again, which is not
    valid.
    """
    warm, cold = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGQUIT)
    assert callable(warm)
    assert callable(cold)
    is_handling = is_stopping = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_handling, is_stopping
        if is_handling:
            return
        is_handling = True
        try:
            (cold if is_stopping and number == signal.SIGINT else warm)(number, frame)
            is_stopping = True
        finally:
            is_handling = False

    for sign in OF_THE_GROUP:
        signal.signal(sign, handle)


def is_requested() -> bool:
    """Return whether this worker is shutting down."""
    return _requested.is_set()


def check() -> None:
    """Raises Interrupted if this worker is shutting down."""
    if is_requested():
        raise Interrupted
