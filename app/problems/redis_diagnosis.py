"""Explains errors of Redis in a sentence for a caller or an operator."""

import shutil
from pathlib import Path

from worker.jobs.errors import StoreUnavailable

GONE = "Redis does not answer. It stores the jobs; digits are still served. Retry later."
REFUSES = "Redis refuses commands: it is full or read-only. Retry later, or inform the operator."
DISK_FULL = "The disk of Redis is full. Jobs are accepted again when the disk has free space. Digits are still served."
LEAST_ROOM = 2**20  # bytes: the append-only file grows by more than this in a busy minute
NO_ROOM = ("No space left on device", "Disk quota exceeded")


def explain_error(error: StoreUnavailable, folder: Path) -> str:
    """Return the cause of an error. `folder` is the data folder of the server that `acgan up` starts, if any."""
    if any(reason in str(error) for reason in NO_ROOM) or (has_no_room(folder) and not error.is_memory_full):
        return DISK_FULL
    return REFUSES if error.refuses else GONE


def has_no_room(folder: Path) -> bool:
    """Return whether an embedded server has run in this folder and its disk is full."""
    try:
        return shutil.disk_usage(folder).free < LEAST_ROOM
    except OSError:
        return False
