"""Parts of a data set on their way to whoever makes it, drawn by others: files of the job, wherever checkpoints lie.

    <job>/part-<name>      as it will lie in the workshop

What helpers drew is there for whoever goes on with the data set, also on another machine, until it is published.
"""

from pathlib import Path

from models.checkpoints import CheckpointStore
from models.datasets import Part, part_path, unpack_part
from models.files import write_durably
from models.safe_reading import FileTooLarge
from models.storage.reading import RECORD_BYTES, read_bytes
from models.storage.shelf import FenceDamaged

PREFIX = "part-"
BYTES_A_DIGIT = 1000  # at most: 784 pixels, which compression may enlarge a little, and a byte of redraws


class Contributions:
    """Every verb raises OSError."""

    def __init__(self, store: CheckpointStore, job: str) -> None:
        self.shelf = store.shelf
        self.job = job

    def reach(self, fence: int) -> bool:
        """Say whether whoever has this token finds what is left here: not so where each has a folder of its own."""
        try:
            return self.shelf.fence(self.job).token == fence
        except FenceDamaged:
            return False

    def names(self) -> set[str]:
        """List the parts that lie here, intact or not."""
        return {name.removeprefix(PREFIX) for name in self.shelf.names(self.job) if name.startswith(PREFIX)}

    def leave(self, part: Part, data: bytes) -> None:
        self.shelf.write(self._name(part.name), data)

    def bring(self, part: Part, workshop: Path) -> bool:
        """Bring a part into the workshop. Says whether it was here, and intact."""
        try:
            data = read_bytes(self.shelf, self._name(part.name), part.digits * BYTES_A_DIGIT + RECORD_BYTES)
        except (FileNotFoundError, FileTooLarge):
            return False
        if unpack_part(data, part) is None:
            return False
        write_durably(part_path(workshop, part), data)
        if self.shelf.shares_workshops:  # elsewhere whoever goes on upon another machine wants it again
            self.drop(part.name)
        return True

    def drop(self, name: str) -> None:
        self.shelf.delete(self._name(name))

    def clear(self) -> None:
        for name in self.names():
            self.drop(name)

    def _name(self, name: str) -> str:
        return f"{self.job}/{PREFIX}{name}"
