"""A lock on an open file, which ends when it is closed or its process ends.

Linux and macOS lock the file, and Windows its first byte. Other systems have no lock: `acgan up`, `serve` and `worker`,
which need one, do not start there.
"""

import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

RETRY_SECONDS = 0.1


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file. Returns False if another holds it."""
    try:
        if _fcntl is not None:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        elif _msvcrt is not None:
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def only_one(
    path: Path, seconds: float, on_wait: Callable[[], None], check: Callable[[], None] = lambda: None
) -> Iterator[bool]:
    """Hold the lock of a file that exists only as long as it is held. Waits for another holder at most `seconds`.

    `on_wait` is called once, if another holds the lock. During the wait, `check` is called every 0.1 s and may end the
    wait by raising. The value is False if there are no locks, as on some network mounts: nothing is held then. Raises
    TimeoutError, OSError, and what `check` raises.
    """
    end, waits = time.monotonic() + seconds, False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            is_locked = _lock_if_possible(descriptor)
            if is_locked is None or (is_locked and is_at(path, descriptor)):
                try:
                    yield is_locked is not None
                finally:
                    with suppress(OSError):  # Windows deletes no open file; the next holder locks the same one
                        path.unlink()
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > end:
            raise TimeoutError(f"another process has held {path} for {seconds:g} s")
        if not waits:
            on_wait()
        waits = True
        check()
        time.sleep(RETRY_SECONDS)


def _lock_if_possible(descriptor: int) -> bool | None:
    """Take the lock of an open file. Returns None if its mount, or this system, has no locks."""
    try:
        return try_lock(descriptor) if _fcntl or _msvcrt else None
    except OSError:
        return None


def is_at(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the open file: an earlier holder of its lock may have deleted it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
