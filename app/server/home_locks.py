"""The locks of `acgan up`, so that a home runs one service."""

import hashlib
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from models.errors import Unavailable
from models.file_locks import try_lock

PRIVATE = Path("/run/user")  # has a folder for each logged-in user; other users cannot write to it
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class CannotStart(Unavailable, code="cannot-start"):
    """The service cannot start. The message names the reason and what to do."""


def hold(home: Path) -> ExitStack:
    """Lock the home for this process, by its folder and by its path.

    The lock inside the folder moves with it if the folder is renamed, while the parts of this process still use the
    path. The locks outside prevent another `acgan up` from using a new folder at this path. Closing the returned stack
    releases all. Raises CannotStart, and OSError if the folder is not writable.
    """
    locks = ExitStack()
    try:
        _take(os.open(home / "up.lock", FLAGS, 0o600), home, locks)
        for lock in locks_of_path(home):
            if (descriptor := _open_own(lock)) is not None:
                _take(descriptor, home, locks)
    except BaseException:
        locks.close()
        raise
    return locks


def locks_of_path(home: Path) -> list[Path]:
    """Return the locks outside the folder. Each is used if it can be opened."""
    name = f"acgan-up-{os.getuid()}-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}.lock"
    return [PRIVATE / str(os.getuid()) / name, Path(tempfile.gettempdir()) / name]


def _open_own(lock: Path) -> int | None:
    """Open a lock in a folder where other users can create files. Returns None if it cannot be opened or is not ours.

    Others can compute the name. What they put there must not prevent the start.
    """
    try:
        descriptor = os.open(lock, FLAGS | os.O_NONBLOCK, 0o600)  # a pipe would delay it
    except OSError:
        return None
    if os.fstat(descriptor).st_uid == os.getuid():
        return descriptor
    os.close(descriptor)
    return None


def _take(descriptor: int, home: Path, locks: ExitStack) -> None:
    locks.callback(os.close, descriptor)
    if not try_lock(descriptor):
        raise CannotStart(f"another `acgan up` runs on {home}: stop it first, or choose another home with --home")
