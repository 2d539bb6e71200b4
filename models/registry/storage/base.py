"""The storage interface of the checkpoint store: files by name, and folders that appear completely or not at all.

    name                    a file that may be overwritten: the pointer, for example
    job/name                such a file of a job: the state of its run, for example
    job/folder/name         a file of a folder, which is staged, then placed in one atomic step, and never changed

Each job has a fence: the highest token issued for writes of this job.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, TypeVar

from models.errors import Unavailable

Result = TypeVar("Result")

MANIFEST = "manifest.json"  # a folder without it does not count as one


class Unreachable(Unavailable, TimeoutError, code="store-unavailable"):
    """The storage does not respond, or is temporarily unavailable. Writers retry."""


class StoreReplaced(Unreachable, code="store-replaced"):
    """The store is no longer the one that this process used: renamed, emptied, replaced, or not mounted."""


class FenceDamaged(Unavailable, code="fence-damaged"):
    """A job's fence is not a number. The message names the file."""


class Folder(NamedTuple):
    job: str
    name: str

    def __str__(self) -> str:
        return f"{self.job}/{self.name}"


class StoredFile(NamedTuple):
    """A file of the store, for the byte budget."""

    name: str  # as for `read`, or `job/folder/name` of a file that was staged and never placed
    size: int
    age: float  # seconds since it was last written
    placed: bool = True  # False for temporary files and for files that were staged and never placed


class Fence(NamedTuple):
    token: int  # 0 before the first claim
    seen: object = None  # version of the record, for a write only if it has not changed since


class ArtifactStorage(Protocol):
    """Every method may raise OSError; `read` raises FileNotFoundError if the file does not exist."""

    # ----------------------------------------------------------------------------
    # Files.

    def read(self, name: str, start: int = 0, end: int | None = None, limit: int | None = None) -> bytes:
        """Read a file, or bytes `start` to `end`. Raises FileTooLarge if it has more than `limit` bytes."""
        ...

    def read_again(self, name: str, limit: int | None = None) -> bytes:
        """Read a file without the cache, because the cached copy may be damaged."""
        ...

    def read_each(self, folders: list[Folder], name: str, limit: int) -> list[tuple[Folder, bytes | OSError]]:
        """Read the file `name` of each folder. Returns its bytes or the error. Raises Unreachable.

        Omits folders that were removed meanwhile.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically: a reader gets the old content, the new one, or none."""
        ...

    def change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Call `change` with a file's content (None if it is missing). If it returns bytes, they replace the content.

        Call this only inside a step of `alone`.
        """
        ...

    def delete(self, name: str) -> None: ...

    def names(self, job: str) -> list[str]:
        """List the files of a job that are not in one of its folders."""
        ...

    def files(self) -> list[StoredFile]:
        """List every file of the store with its size in bytes."""
        ...

    def clear(self, files: list[StoredFile]) -> None:
        """Delete those of the given files that are not placed."""
        ...

    # ----------------------------------------------------------------------------
    # Folders.

    def folders(self, job: str | None = None) -> list[Folder]:
        """List the placed folders of one job or of all."""
        ...

    def stage(self, folder: Folder, token: int, files: Mapping[str, bytes | Path]) -> str:
        """Write the files of a folder without making them visible. Returns a handle. On an error, no file is left.

        A path names a file of this machine, whose content is copied; it may be larger than the memory.
        """
        ...

    def complete(self, staged: str, name: str, data: bytes) -> None:
        """Add a file to a staged folder, or replace it."""
        ...

    def place(self, staged: str, folder: Folder, fence: Fence) -> None:
        """Make the staged files the content of a folder, atomically.

        Call this only inside a step of `alone`, with the fence that this step read.
        """
        ...

    def discard(self, staged: str) -> None:
        """Delete staged files, unless they were placed."""
        ...

    def remove(self, folder: Folder) -> None:
        """Make a folder invisible, then delete its files."""
        ...

    def hide_job(self, job: str) -> None:
        """Make all files of a job invisible, atomically; `clear_job` then deletes them.

        Call this only inside a step of `alone`.
        """
        ...

    def clear_job(self, job: str) -> None:
        """Delete the files of a hidden job. Can be repeated after an error."""
        ...

    def sweep(self, job: str) -> None:
        """Delete all files that were staged for a job and not placed."""
        ...

    def incoming(self) -> Path:
        """Return the local folder for temporary files that are being received. It may not exist yet."""
        ...

    # ----------------------------------------------------------------------------
    # Exclusive steps.

    def alone(self, step: Callable[[], Result]) -> Result:
        """Run a step in isolation from the steps of others. It may be repeated from the beginning.

        Raises TimeoutError if others block it for too long.
        """
        ...

    def fence(self, job: str) -> Fence:
        """Return the job's fence; its token is 0 if the job was never claimed. Raises FenceDamaged, OSError."""
        ...

    def raise_fence(self, job: str, token: int, fence: Fence) -> None:
        """Set the job's fence to a higher token.

        Call this only inside a step of `alone`, with the fence that this step read.
        """
        ...

    # ----------------------------------------------------------------------------
    # Folders too large for memory: their files are made in a local folder (workshop), the manifest last.

    shares_workshops: ClassVar[bool]  # whether all machines see the files of a workshop

    def workshop(self, folder: Folder) -> Path:
        """Return the local folder for the files. A job that restarts on this machine reuses them."""
        ...

    def deliver(self, folder: Folder, token: int, held: Callable[[], Fence]) -> None:
        """Place the files of the workshop. `held` reads the fence and raises if the token is no longer the highest.

        If files must be copied for this, `held` is also called about once a second meanwhile. If it raises, they are
        not placed; copies that are under way end by themselves and are then deleted.
        """
        ...
