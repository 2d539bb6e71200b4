"""Storage in a folder: durable by fsync, atomic by rename, exclusive steps by a lock file."""

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from models.atomic_files import (
    DELETED,
    clock_of,
    copy_durably,
    create_in,
    names_in,
    remove_tree,
    sync_folder,
    write_durably,
)
from models.bounded_reading import FileTooLarge
from models.file_locks import try_lock
from models.registry.storage.base import MANIFEST, Fence, Folder, Result, StoredFile, StoreReplaced
from models.registry.storage.deadline import READ_SECONDS, Deadline
from models.registry.storage.reading import read_bytes, read_token

FENCE = "fence"
LOCK_SECONDS = 10.0
READING = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # those that the system has
    READING |= getattr(os, _flag, 0)
AT_ONCE = 64  # files per time limit


class FilesystemStorage:
    """Folders are staged as `<job>/.<folder>.<token>`, and placed by a rename."""

    def __init__(self, root: Path, seconds: float = READ_SECONDS) -> None:
        """`seconds` is the time limit of one read."""
        self.root = root
        self._within = Deadline(seconds)
        self._existed = False  # whether the root existed earlier in this process

    def path(self, folder: Folder) -> Path:
        return self.root / folder.job / folder.name

    # ----------------------------------------------------------------------------
    # Files.

    def read(self, name: str, start: int = 0, end: int | None = None, limit: int | None = None) -> bytes:
        length = None if end is None else end - start
        return self._within(f"{name} cannot be read", partial(self._read, name, start, length, limit))

    def _read(self, name: str, start: int = 0, length: int | None = None, limit: int | None = None) -> bytes:
        try:
            with open_regular(self.root / name) as descriptor:
                size = os.fstat(descriptor).st_size
                if limit is not None and size > limit:
                    raise FileTooLarge(f"{name} has {size:,} bytes, more than the {limit:,} that it may have")
                self._existed = True
                return pread(descriptor, start, size - start if length is None else min(length, size - start))
        except (FileNotFoundError, NotADirectoryError) as error:
            self._check_root()
            raise FileNotFoundError(*error.args) from error

    def _check_root(self) -> None:
        """Raises StoreReplaced if the root existed earlier and is missing now: a missing store is not an empty one."""
        if self.root.is_dir():
            self._existed = True
        elif self._existed:
            raise StoreReplaced(f"the store {self.root} is gone: it was renamed, deleted or is no longer mounted")

    def read_again(self, name: str, limit: int | None = None) -> bytes:
        return self.read(name, limit=limit)

    def read_each(self, folders: list[Folder], name: str, limit: int) -> list[tuple[Folder, bytes | OSError]]:
        found: list[tuple[Folder, bytes | OSError]] = []
        for first in range(0, len(folders), AT_ONCE):
            some = folders[first : first + AT_ONCE]
            found += self._within(f"{name} of {some[0]} cannot be read", partial(self._read_some, some, name, limit))
        return found

    def _read_some(self, folders: list[Folder], name: str, limit: int) -> list[tuple[Folder, bytes | OSError]]:
        found: list[tuple[Folder, bytes | OSError]] = []
        for folder in folders:
            try:
                found.append((folder, self._read(f"{folder}/{name}", limit=limit)))
            except (FileNotFoundError, StoreReplaced):
                self._check_root()
            except OSError as error:
                found.append((folder, error))
        return found

    def write(self, name: str, data: bytes) -> None:
        self._check_root()
        write_durably(self.root / name, data)

    def change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        try:
            old = read_bytes(self, name)
        except FileNotFoundError:
            old = None
        except FileTooLarge:
            old = b""  # too large: invalid
        new = change(old)
        if new is not None:
            self.write(name, new)

    def delete(self, name: str) -> None:
        path = self.root / name
        path.unlink(missing_ok=True)
        if path.parent != self.root:
            with suppress(OSError):  # delete the folder of a job with its last file
                path.parent.rmdir()

    def names(self, job: str) -> list[str]:
        def look() -> list[str]:
            folder = self.root / job
            found = [name for name in names_in(folder) if (folder / name).is_file()]
            self._check_root()  # afterwards: it may have been renamed meanwhile
            return found

        return self._within(f"{job} cannot be listed", look)

    def files(self) -> list[StoredFile]:
        return self._within(f"the store {self.root} cannot be listed", lambda: list(self._walk()))

    def _walk(self) -> Iterator[StoredFile]:
        self._check_root()
        now = clock_of(self.root)
        for parent, _, names in os.walk(self.root, onerror=raise_unless_missing):
            place = Path(parent).relative_to(self.root)
            staged = any(part.startswith(".") for part in place.parts)
            for name in names:
                with suppress(FileNotFoundError):
                    found = (self.root / place / name).lstat()
                    temporary = staged or (name.startswith(".") and name.endswith(".tmp"))
                    yield StoredFile(str(place / name), found.st_size, now - found.st_mtime, not temporary)

    def clear(self, files: list[StoredFile]) -> None:
        for path in [self.root / file.name for file in files if not file.placed]:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # delete a folder with its last file
                while any(part.startswith(".") for part in path.parent.relative_to(self.root).parts):
                    path = path.parent
                    path.rmdir()

    # ----------------------------------------------------------------------------
    # Folders.

    def folders(self, job: str | None = None) -> list[Folder]:
        return self._within("the checkpoints cannot be listed", partial(self._folders, job))

    def _folders(self, job: str | None) -> list[Folder]:
        found = list[Folder]()
        for each in visible(names_in(self.root) if job is None else [job]):
            with suppress(PermissionError):  # a folder such as lost+found, which is not of the store
                for name in visible(names_in(self.root / each)):
                    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                        os.stat(self.root / each / name / MANIFEST)
                        found.append(Folder(each, name))
        self._check_root()  # afterwards: it may have been renamed meanwhile
        return found

    def stage(self, folder: Folder, token: int, files: Mapping[str, bytes | Path]) -> str:
        self._check_root()
        beside = self.path(folder).with_name(f".{folder.name}.{token}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            for name, data in files.items():
                if isinstance(data, Path):
                    copy_durably(beside / name, data)
                else:
                    write_durably(beside / name, data)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)  # the next attempt may need the space
            raise
        return str(beside)

    def complete(self, staged: str, name: str, data: bytes) -> None:
        write_durably(Path(staged) / name, data)

    def place(self, staged: str, folder: Folder, fence: Fence) -> None:
        place = self.path(folder)
        damaged = place.with_name(f".{folder.name}.damaged")
        shutil.rmtree(damaged, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.rename(place, damaged)
        os.rename(staged, place)
        sync_folder(place.parent)
        sync_folder(self.root)
        shutil.rmtree(damaged, ignore_errors=True)

    def discard(self, staged: str) -> None:
        if staged:
            shutil.rmtree(staged, ignore_errors=True)

    def remove(self, folder: Folder) -> None:
        place = self.path(folder)
        hidden = place.with_name(f".{folder.name}.{secrets.token_hex(4)}{DELETED}")
        with suppress(FileNotFoundError):
            os.rename(place, hidden)
            sync_folder(place.parent)
        shutil.rmtree(hidden, ignore_errors=True)  # files that remain count as temporary

    def hide_job(self, job: str) -> None:
        self._check_root()
        with suppress(FileNotFoundError):
            os.rename(self.root / job, self.root / f".{job}.{secrets.token_hex(4)}{DELETED}")
            sync_folder(self.root)

    def clear_job(self, job: str) -> None:
        for name in names_in(self.root):
            if name.startswith(f".{job}.") and name.endswith(DELETED):
                remove_tree(self.root / name)

    def sweep(self, job: str) -> None:
        folder = self.root / job
        for name in names_in(folder):
            if name.startswith("."):
                with suppress(OSError):  # files that remain count as temporary
                    remove_tree(folder / name)

    def incoming(self) -> Path:
        self._check_root()
        return self.root

    # ----------------------------------------------------------------------------
    # Exclusive steps.

    def alone(self, step: Callable[[], Result]) -> Result:
        with self._locked():
            return step()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the store. Raises TimeoutError if another process holds it, for example a stopped one."""
        descriptor = self._within(f"the store {self.root} cannot be locked", self._open_lock, os.close)
        deadline = time.monotonic() + LOCK_SECONDS
        try:
            while not try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.root / '.lock'} has been held for {LOCK_SECONDS:.0f} s")
                time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self) -> int:
        self._check_root()
        return create_in(self.root, lambda: os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644))

    def fence(self, job: str) -> Fence:
        try:
            return Fence(read_token(self, f"{job}/{FENCE}"))
        except FileNotFoundError:
            return Fence(0)

    def raise_fence(self, job: str, token: int, fence: Fence) -> None:
        self.write(f"{job}/{FENCE}", str(token).encode())

    # ----------------------------------------------------------------------------
    # Folders too large for memory are made in their final place.

    shares_workshops: ClassVar[bool] = True

    def workshop(self, folder: Folder) -> Path:
        return self.path(folder)

    def deliver(self, folder: Folder, token: int, held: Callable[[], Fence]) -> None:
        """Only check the fence: the files are already in their place."""
        held()


def visible(names: list[str]) -> list[str]:
    """Return the names that are not hidden: those of staged and deleted folders are."""
    return [name for name in names if not name.startswith(".")]


def raise_unless_missing(error: OSError) -> None:
    """Ignore a folder that was removed meanwhile. Raises the error of one that cannot be listed."""
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def open_regular(path: Path) -> Iterator[int]:
    """Open a regular file for reading; never blocks on a pipe. Raises OSError if it is not a regular file."""
    descriptor = os.open(path, READING)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def pread(descriptor: int, start: int, length: int) -> bytes:
    """Read `length` bytes, or fewer if the file ends earlier."""
    pieces = []
    os.lseek(descriptor, start, os.SEEK_SET)
    while length > 0 and (piece := os.read(descriptor, length)):
        pieces.append(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
