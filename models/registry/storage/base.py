"""What a store of checkpoints stands on: bytes by name, and folders of them that are there whole or not at all.

    name                    a file, which may be written again: the pointer, a run's state
    job/name                the same, of a job
    job/folder/name         a file of a folder: staged beside its place, then placed in one step, never changed

A job has a fence: the highest token that was given out to write for it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, TypeVar

Result = TypeVar("Result")

MANIFEST = "manifest.json"  # a folder without it is none


class Unreachable(TimeoutError):
    """Object storage does not answer, or cannot just now: whoever has something to write waits for it."""


class StoreReplaced(Unreachable):
    """The store is not the one that this process knows: renamed, emptied, replaced, or no longer mounted."""


class FenceDamaged(Exception):
    """A job's fence exists and holds no number. The message names the file."""


class Folder(NamedTuple):
    job: str
    name: str

    def __str__(self) -> str:
        return f"{self.job}/{self.name}"


class StoredFile(NamedTuple):
    """One file of the store, for the byte budget."""

    name: str  # as `read` takes it, or `job/folder/name` of what was staged and never placed
    size: int
    age: float  # seconds since it was last written
    placed: bool = True  # False for temporary files and for what was staged and never placed


class Fence(NamedTuple):
    token: int  # 0 before the first
    seen: object = None  # what it takes to change something only where nobody has changed it since


class Shelf(Protocol):
    """Every verb raises OSError; where what it is about is not there, `read` raises FileNotFoundError."""

    # ----------------------------------------------------------------------------
    # Files.

    def read(self, name: str, start: int = 0, end: int | None = None, limit: int | None = None) -> bytes:
        """Raises FileTooLarge if the file has more than `limit` bytes: it is not read then."""
        ...

    def read_again(self, name: str, limit: int | None = None) -> bytes:
        """Read past whatever copy may be kept nearby: that may be what is damaged."""
        ...

    def read_each(self, folders: list[Folder], name: str, limit: int) -> list[tuple[Folder, bytes | OSError]]:
        """Read the file of that name of each folder, or say why it cannot be read. Raises Unreachable.

        A folder that was removed meanwhile is left out.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put a file there in one step: a reader sees the old one, the new one, or none."""
        ...

    def change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a file by what follows from it, if anything does, while nobody else changes it. Only in `alone`."""
        ...

    def delete(self, name: str) -> None: ...

    def names(self, job: str) -> list[str]:
        """List the files of a job that lie in none of its folders."""
        ...

    def files(self) -> list[StoredFile]:
        """List every file of the store with its size in bytes."""
        ...

    def clear(self, files: list[StoredFile]) -> None:
        """Delete files that `files` listed as not placed."""
        ...

    # ----------------------------------------------------------------------------
    # Folders.

    def folders(self, job: str | None = None) -> list[Folder]:
        """List the folders that stand, of a job or of all."""
        ...

    def stage(self, folder: Folder, token: int, files: Mapping[str, bytes]) -> str:
        """Lay files beside a folder's place. Returns what to call them; where it raises, none are left."""
        ...

    def complete(self, staged: str, name: str, data: bytes) -> None:
        """Add the last file to what was staged, or replace it."""
        ...

    def place(self, staged: str, folder: Folder, fence: Fence) -> None:
        """Let a folder be what was staged, in one step and for good. Only in `alone`, with the fence read there."""
        ...

    def discard(self, staged: str) -> None:
        """Clear away what was staged, if anything, unless it was placed."""
        ...

    def remove(self, folder: Folder) -> None:
        """From here on the folder does not exist; then its files go."""
        ...

    def hide_job(self, job: str) -> None:
        """From here on nothing of the job exists, in one step. Only in `alone`; `clear_job` then deletes its files."""
        ...

    def clear_job(self, job: str) -> None:
        """Delete the files of a job that `hide_job` hid. Can be repeated after an error."""
        ...

    def sweep(self, job: str) -> None:
        """Clear away whatever was staged for a job and not placed."""
        ...

    # ----------------------------------------------------------------------------
    # One after the other.

    def alone(self, step: Callable[[], Result]) -> Result:
        """Take a step that nobody else's comes into. It may be taken again from its beginning.

        Raises TimeoutError where others keep us from it for too long.
        """
        ...

    def fence(self, job: str) -> Fence:
        """Return the job's fence; token 0 if the job was never claimed. Raises FenceDamaged, OSError."""
        ...

    def raise_fence(self, job: str, token: int, fence: Fence) -> None:
        """Only in `alone`, with the fence read there."""
        ...

    # ----------------------------------------------------------------------------
    # Folders whose files are too large for memory: made on this machine, file by file, manifest last.

    shares_workshops: ClassVar[bool]  # whether what lies in a workshop is found from every machine

    def workshop(self, folder: Folder) -> Path:
        """Say where to make them; what lies there stays for whoever goes on with it on this machine."""
        ...

    def deliver(self, folder: Folder, token: int, held: Callable[[], Fence]) -> None:
        """Place what was made there. `held` reads the fence, and raises where the token is no longer the highest."""
        ...
