"""Logs of `acgan up`: bounded, with a few older files beside each."""

import contextlib
import os
import shutil
from pathlib import Path

LIMIT = 10_000_000  # bytes of one file
OLDER = 3  # files kept beside it


def rotate(log: Path, limit: int = LIMIT) -> None:
    """Move a log of more than `limit` bytes to `NAME.1`, and older files up by one, and empty it.

    Its writer keeps the file open and appends, so the bytes are copied. Lines that are written between copy and
    truncation are lost. If the copy fails, as on a full disk, the log is emptied all the same.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size <= limit:
            return
        with contextlib.suppress(OSError):
            for number in range(OLDER - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{log}.{number}", f"{log}.{number + 1}")
            shutil.copyfile(log, f"{log}.1")
        os.truncate(log, 0)
