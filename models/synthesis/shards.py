"""Shards: parts of a generated data set that other workers drew for the worker that makes it, as files in the store.

<job>/part-<name>      same bytes as in the workshop (the folder in which the data set is made)
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from models.atomic_files import write_durably
from models.bounded_reading import FileTooLarge
from models.registry.storage.base import FenceDamaged
from models.registry.storage.reading import read_bytes
from models.registry.store import SHARD_PREFIX, CheckpointStore
from models.synthesis.builder import part_path, unpack_part
from models.synthesis.order import Part, Provenance, part_limit


class Shards:
    """The shards of one job. Every method raises OSError."""

    def __init__(self, store: CheckpointStore, job: str) -> None:
        self.store = store
        self.storage = store.storage
        self.job = job

    def reach(self, fence: int) -> bool:
        """Return whether the worker with this fence token uses the same store. It does not if each has a folder."""
        try:
            return self.storage.fence(self.job).token == fence
        except FenceDamaged:
            return False

    def names(self) -> set[str]:
        """List the parts whose shard is stored, intact or not."""
        return {
            name.removeprefix(SHARD_PREFIX) for name in self.storage.names(self.job) if name.startswith(SHARD_PREFIX)
        }

    def write(self, part: Part, data: bytes, fence: int, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Store a shard, and delete it again unless the job still wants it then. Returns whether it is stored.

        The check follows the write, and a worker deletes the shards of a job after its record shows the end. Raises
        FenceRejected.
        """
        stored = False
        try:
            self.store.write_held(self.job, fence, lambda: self.storage.write(self._path(part.name), data))
            stored = is_wanted()
        finally:
            if not stored:
                self.drop(part.name)
                self.store.clear_unknown(self.job)
        return stored

    def fetch(self, part: Part, workshop: Path, origin: Provenance) -> bool:
        """Copy a shard into the workshop. Returns whether it was stored and intact; a damaged one is deleted."""
        try:
            data = read_bytes(self.storage, self._path(part.name), part_limit(part))
        except (FileNotFoundError, FileTooLarge):
            data = b""
        intact = unpack_part(data, part, origin) is not None
        if intact:
            write_durably(part_path(workshop, part), data)
        if not intact or self.storage.shares_workshops:  # else a worker that continues on another machine needs it
            self.drop(part.name)
        return intact

    def drop(self, name: str) -> None:
        self.storage.delete(self._path(name))

    def clear(self, fence: int | None = None) -> None:
        """Delete the shards. Raises FenceRejected if another worker than that with this token runs the job again."""
        for name in self.names():
            drop = partial(self.drop, name)
            drop() if fence is None else self.store.write_held(self.job, fence, drop)

    def _path(self, name: str) -> str:
        return f"{self.job}/{SHARD_PREFIX}{name}"
