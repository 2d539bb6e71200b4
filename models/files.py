"""Atomic and durable file writes: after a power cut a file is complete or absent."""

import os
import stat
import tempfile
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step: a reader sees the old file, the new one, or none.

    Raises OSError if the disk is full or not writable; the old file is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if hasattr(os, "fchmod"):  # Windows has no such permissions
                os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(path.parent)


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter, or remove others' access to an existing one.

    Shared folders are not changed: those of another user, one like /tmp, the user's home, and the current folder with
    its parents.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found, here = folder.stat(), Path.cwd()
    is_shared = not hasattr(os, "geteuid") or found.st_uid != os.geteuid() or bool(found.st_mode & stat.S_ISVTX)
    if is_shared or folder.resolve() in (here, *here.parents, Path(os.path.expanduser("~")).resolve()):
        return
    if found.st_mode & 0o077:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~0o077)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut. Windows does so without being asked."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
