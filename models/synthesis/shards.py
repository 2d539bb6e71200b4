"""Parts of a generated data set that helping workers drew for the worker that makes it. They are files in the store.

    <job>/part-<name>      same bytes as in the workshop (the folder in which the data set is made)

The parts stay in the store until the data set is published, so any worker on any machine can continue with them.
"""

from pathlib import Path

from models.atomic_files import write_durably
from models.bounded_reading import FileTooLarge
from models.registry.storage.base import FenceDamaged
from models.registry.storage.reading import RECORD_BYTES, read_bytes
from models.registry.store import SHARD_PREFIX, CheckpointStore
from models.synthesis.builder import part_path, unpack_part
from models.synthesis.order import Part

BYTES_A_DIGIT = 1000  # upper limit: 784 pixels, which compression may enlarge a little, and a byte of redraws


class Contributions:
    """The stored parts of one job. Every method raises OSError."""

    def __init__(self, store: CheckpointStore, job: str) -> None:
        self.shelf = store.shelf
        self.job = job

    def reach(self, fence: int) -> bool:
        """Return whether the worker with this fence token reads the same store. It does not if each has a folder."""
        try:
            return self.shelf.fence(self.job).token == fence
        except FenceDamaged:
            return False

    def names(self) -> set[str]:
        """List the stored parts, intact or not."""
        return {name.removeprefix(SHARD_PREFIX) for name in self.shelf.names(self.job) if name.startswith(SHARD_PREFIX)}

    def leave(self, part: Part, data: bytes) -> None:
        self.shelf.write(self._name(part.name), data)

    def bring(self, part: Part, workshop: Path) -> bool:
        """Copy a part into the workshop. Returns whether it was stored and intact."""
        try:
            data = read_bytes(self.shelf, self._name(part.name), part.digits * BYTES_A_DIGIT + RECORD_BYTES)
        except (FileNotFoundError, FileTooLarge):
            return False
        if unpack_part(data, part) is None:
            return False
        write_durably(part_path(workshop, part), data)
        if self.shelf.shares_workshops:  # otherwise a worker that continues on another machine needs it
            self.drop(part.name)
        return True

    def drop(self, name: str) -> None:
        self.shelf.delete(self._name(name))

    def clear(self) -> None:
        for name in self.names():
            self.drop(name)

    def _name(self, name: str) -> str:
        return f"{self.job}/{SHARD_PREFIX}{name}"
