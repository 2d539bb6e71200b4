"""A folder on a disk as shelf: durable by fsync, whole by rename, one after the other by a lock."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from models.files import sync_folder, write_durably
from models.storage.shelf import MANIFEST, Fence, Folder, Result

FENCE = "fence"
LOCK_SECONDS = 10.0


class FolderShelf:
    """Folders are staged as `<job>/.<folder>.<token>`, and placed by a rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, folder: Folder) -> Path:
        return self.root / folder.job / folder.name

    # ----------------------------------------------------------------------------
    # Files.

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        try:
            with (self.root / name).open("rb") as file:
                file.seek(start)
                return file.read(-1 if end is None else end - start)
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error

    def read_again(self, name: str) -> bytes:
        return self.read(name)

    def read_each(self, folders: list[Folder], name: str) -> list[bytes]:
        found = []
        for folder in folders:
            with suppress(OSError):
                found.append(self.read(f"{folder}/{name}"))
        return found

    def write(self, name: str, data: bytes) -> None:
        write_durably(self.root / name, data)

    def change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        try:
            old = self.read(name)
        except FileNotFoundError:
            old = None
        new = change(old)
        if new is not None:
            self.write(name, new)

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def names(self, job: str) -> list[str]:
        folder = self.root / job
        return [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []

    # ----------------------------------------------------------------------------
    # Folders.

    def folders(self, job: str | None = None) -> list[Folder]:
        found = self.root.glob(f"*/*/{MANIFEST}") if job is None else (self.root / job).glob(f"*/{MANIFEST}")
        places = [path.parent for path in found]
        return [Folder(place.parent.name, place.name) for place in places if not place.name.startswith(".")]

    def stage(self, folder: Folder, token: int, files: Mapping[str, bytes]) -> str:
        beside = self.path(folder).with_name(f".{folder.name}.{token}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            for name, data in files.items():
                write_durably(beside / name, data)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)  # the room may be what the next try lacks
            raise
        return str(beside)

    def place(self, staged: str, folder: Folder, fence: Fence) -> None:
        place = self.path(folder)
        shutil.rmtree(place, ignore_errors=True)  # without a manifest that can be read, it is none
        os.rename(staged, place)
        sync_folder(place.parent)
        sync_folder(self.root)

    def discard(self, staged: str) -> None:
        if staged:
            shutil.rmtree(staged, ignore_errors=True)

    def remove(self, folder: Folder) -> None:
        (self.path(folder) / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.path(folder), ignore_errors=True)

    def sweep(self, job: str) -> None:
        for leftover in (self.root / job).glob(".*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)

    # ----------------------------------------------------------------------------
    # One after the other.

    def alone(self, step: Callable[[], Result]) -> Result:
        with self._locked():
            return step()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock. Raises TimeoutError where somebody who was stopped holds it."""
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + LOCK_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"{self.root / '.lock'} has been held for {LOCK_SECONDS:.0f} s") from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def fence(self, job: str) -> Fence:
        try:
            return Fence(int(self.read(f"{job}/{FENCE}")))
        except (FileNotFoundError, ValueError):  # only a broken disk can make it something else than a number
            return Fence(0)

    def raise_fence(self, job: str, token: int, fence: Fence) -> None:
        self.write(f"{job}/{FENCE}", str(token).encode())

    # ----------------------------------------------------------------------------
    # What is too large for memory is made in its place.

    shares_workshops: ClassVar[bool] = True

    def workshop(self, folder: Folder) -> Path:
        return self.path(folder)

    def deliver(self, folder: Folder, token: int, held: Callable[[], Fence]) -> None:
        """It lies there already."""
