"""Atomic and durable file writes: after a power cut a file is complete or absent."""

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, TypeVar

TEMPORARY, DELETED = ".tmp", ".deleted"  # endings of the names of hidden files and folders that may be removed
PIECE = 1 << 20  # bytes copied at once
OLD_SECONDS = 3600  # unchanged for this time, they belong to no living process
NAME_PART = 40  # characters of a file's name in that of its temporary file, which a system may limit to 255 bytes
ATTEMPTS = 100  # to create a file in a folder that other processes delete
NOT_REPLACED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)  # of a writable file in a folder that is not
Created = TypeVar("Created")


def write_durably(path: Path, data: bytes, mode: int | None = 0o644) -> None:
    """Write `data` to `path` in one step: a reader sees the old file, the new one, or none.

    `mode` is that of `replacing`. Raises OSError if the disk is full or not writable; the old file is then unchanged.
    """
    with replacing(path, mode) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, mode: int | None = 0o644, is_durable: bool = True) -> Iterator[BinaryIO]:
    """Create a file, or replace it in one step, by what the block writes. The folder is created if it is missing.

    The file gets the permissions `mode`; with None, those that its folder and the umask give to new files.

    Each block writes a temporary file of its own: if several processes write the same file, the last one replaces what
    the others wrote. Without `is_durable` the file may be lost or empty after a power cut. After an error no temporary
    file is left, and the old file is unchanged. Raises OSError.
    """
    descriptor, temporary = create_in(path.parent, lambda: _create_temporary(path, 0o666 if mode is None else 0o600))
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None and hasattr(os, "fchmod"):  # Windows has no such permissions
                os.fchmod(file.fileno(), mode)
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first error is the reason
            os.unlink(temporary)
        raise
    if is_durable:
        sync_folder(path.parent)


def _create_temporary(path: Path, mode: int) -> tuple[int, Path]:
    """Create a hidden file beside `path`, open to write. Unlike one of `tempfile`, it can obey the umask."""
    temporary = path.with_name(f".{path.name[:NAME_PART]}.{token_hex(4)}{TEMPORARY}")
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode), temporary


def create_in(folder: Path, create: Callable[[], Created], mode: int = 0o777) -> Created:
    """Create a folder unless it exists, with `mode`, and return what `create` creates in it.

    Both are repeated if another process deletes the empty folder between these steps. Raises OSError.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            folder.mkdir(mode, parents=True, exist_ok=True)
            return create()
        except (FileNotFoundError, FileExistsError):  # `mkdir` raises the second if the folder was deleted meanwhile
            if attempts == ATTEMPTS:
                raise


def write_output(path: Path, data: bytes) -> None:
    """Write `data` to a file that a user named, in one step as `write_durably` does.

    A link stays a link, and its file is replaced. A pipe or a device is written to. A file keeps its permissions. If
    its folder lets no file be replaced, the file is overwritten.

    Raises OSError, which names `path`. The old file is then unchanged, unless it was overwritten.
    """
    target = Path(os.path.realpath(path))
    try:
        old = _status(path)
        if old is not None and not (stat.S_ISREG(old.st_mode) and target.exists()):  # /dev/stdout has no other path
            path.write_bytes(data)
            return
        try:
            write_durably(target, data, stat.S_IMODE(old.st_mode) if old else None)
        except OSError as error:
            if old is None or error.errno not in NOT_REPLACED:
                raise
            path.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def copy_durably(path: Path, source: Path) -> None:
    """Write the content of the file `source` to `path`, which does not exist yet, in pieces. Raises OSError."""
    with source.open("rb") as content, create_in(path.parent, lambda: path.open("xb")) as file:
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), 0o644)
        shutil.copyfileobj(content, file, PIECE)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def names_in(folder: Path) -> list[str]:
    """List the names in a folder; none if it does not exist, also if another process has just deleted or renamed it.

    Raises OSError if the folder cannot be listed.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove_tree(path: Path) -> None:
    """Delete a folder with its content, a file or a link, also if another process deletes parts of it meanwhile.

    Raises OSError if a part remains.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(ATTEMPTS):
        try:
            shutil.rmtree(path)
            return
        except FileNotFoundError:  # stops at the first part that another process has deleted
            shutil.rmtree(path, ignore_errors=True)
            if not os.path.lexists(path):
                return
    raise OSError(errno.ENOTEMPTY, "other processes change the folder", str(path))


def clock_of(folder: Path) -> float:
    """Return the time that a file gets if it is written now in `folder`, in seconds since 1970.

    Compute the age of a file with it: the clock of this host may be wrong, while that of the host or of the file server
    that gave the file its time is right. If no file can be created there, it is the time of this host.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".clock.", suffix=TEMPORARY) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def remove_old_temporary(
    folder: Path, seconds: float = OLD_SECONDS, is_ours: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """Delete hidden temporary files and partly deleted folders that killed processes left directly in `folder`.

    Keeps everything changed less than `seconds` ago, and files that cannot be deleted. In a folder that others use too,
    `is_ours` returns for the name of a temporary file, without its first dot, whether it may be deleted. Returns the
    deleted names. Raises OSError if the folder cannot be listed.
    """
    hidden = [name for name in names_in(folder) if name.startswith(".") and name.endswith((TEMPORARY, DELETED))]
    left = [folder / name for name in hidden if is_ours(name[1:])]
    removed, now = [], clock_of(folder) if left else 0.0
    for path in left:
        with suppress(OSError):
            found = path.lstat()
            if now - max(found.st_mtime, found.st_ctime) < seconds:
                continue
            if path.name.endswith(TEMPORARY) and stat.S_ISREG(found.st_mode):
                path.unlink()
            elif path.name.endswith(DELETED) and stat.S_ISDIR(found.st_mode):
                remove_tree(path)
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
