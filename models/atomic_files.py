"""Atomic and durable file writes: after a power cut a file is complete or absent."""

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

TEMPORARY, DELETED = ".tmp", ".deleted"  # endings of the names of hidden files and folders that may be removed
PIECE = 1 << 20  # bytes copied at once
OLD_SECONDS = 3600  # unchanged for this time, they belong to no living process


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step: a reader sees the old file, the new one, or none.

    Raises OSError if the disk is full or not writable; the old file is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
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


def copy_durably(path: Path, source: Path) -> None:
    """Write the content of the file `source` to `path`, which does not exist yet, in pieces. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as content, path.open("xb") as file:
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), 0o644)
        shutil.copyfileobj(content, file, PIECE)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def remove_old_temporary(folder: Path, seconds: float = OLD_SECONDS) -> list[str]:
    """Delete hidden temporary files and partly deleted folders that killed processes left directly in `folder`.

    Keeps everything changed in the last `seconds`, and files that cannot be deleted. Returns the deleted names.
    Raises OSError if the folder cannot be listed.
    """
    removed = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):
            found = path.lstat()
            is_old = time.time() - max(found.st_mtime, found.st_ctime) > seconds
            if not path.name.startswith(".") or not is_old:
                continue
            if path.name.endswith(TEMPORARY) and stat.S_ISREG(found.st_mode):
                path.unlink()
            elif path.name.endswith(DELETED) and stat.S_ISDIR(found.st_mode):
                shutil.rmtree(path)
            else:
                continue
            removed.append(path.name)
    return removed


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
    """Make renames inside `folder` durable: they survive a power cut. Windows needs no call for this."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
