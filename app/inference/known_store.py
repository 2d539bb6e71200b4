"""Records in the home which stores existed, so that a start without one is not treated as a first start."""

import hashlib
from pathlib import Path

from models.atomic_files import write_durably
from models.registry.job_entry import IDENTITY
from models.registry.storage.base import StoreReplaced
from models.registry.storage.reading import read_bytes
from models.registry.store import CheckpointStore


class KnownStore:
    def __init__(self, store: CheckpointStore, folder: Path | None = None, name: str = "") -> None:
        """`folder` has one file for each known store; without a folder nothing is recorded. `name` is the store's
        address. A store that is replaced while this process runs is detected too.
        """
        self.store = store
        self.name = name
        self._file = folder / hashlib.sha256(name.encode()).hexdigest()[:16] if folder else None
        self._is_noted = False

    def check(self) -> str | None:
        """Return what is wrong with the store's identity file, or None.

        Raises StoreReplaced if a store that was known before is missing or empty, Unreachable if it does not respond.
        """
        problem = self.store.check_identity()
        if self._is_noted or self._file is None:
            return problem
        if self._has_content():
            self._note(self._file)
        elif self._file.exists():
            raise StoreReplaced(
                f"the store {self.name} is missing or empty, although checkpoints were stored there before: restore "
                f"or mount it, or delete {self._file} to begin with an empty store"
            )
        return problem

    def _has_content(self) -> bool:
        try:
            return bool(read_bytes(self.store.storage, IDENTITY))
        except FileNotFoundError:
            return bool(self.store.storage.folders())

    def _note(self, file: Path) -> None:
        """Note that the store exists. A home that cannot be written to does not stop the API."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                write_durably(file, self.name.encode())
        except OSError:
            pass
        self._is_noted = True
