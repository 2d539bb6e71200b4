"""A lock on an open file, which ends when it is closed or its process ends.

Linux and macOS lock the file, and Windows its first byte. Other systems have no lock: `acgan up`, `serve` and `worker`,
which need one, do not start there.
"""

import importlib
from typing import Any


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
