"""Rotates the log files of `acgan up`, with a few older files for each."""

import contextlib
import os
import shutil
from pathlib import Path

LIMIT = 10_000_000  # bytes of one file
OLDER = 3  # older files kept


def rotate(log: Path, limit: int = LIMIT) -> None:
    """If a log has more than `limit` bytes, copy it to `NAME.1`, renumber older files, and truncate it.

    It is copied because its writer keeps the file open and appends. Lines written between copy and truncation are
    lost. If the copy fails, as on a full disk, the log is truncated nevertheless.
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
