"""Reads checkpoints: the newest one, all manifests, and files, which are verified before use. Without torch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from models.bounded_reading import FileInvalid, FileNotUnderstood
from models.registry.manifest import (
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointNotUnderstood,
    FileRecord,
    Manifest,
)
from models.registry.pointer import POINTER, Latest, Newest, interpret, newest
from models.registry.storage.base import MANIFEST, ArtifactStorage, Folder
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.storage.reading import (
    RECORD_BYTES,
    Unreadable,
    parse,
    read_bytes,
    reason,
)


class Unusable(NamedTuple):
    """A checkpoint whose manifest this version cannot use."""

    checkpoint: CheckpointId
    reason: str
    understood: bool  # False: another version wrote it; it is intact and is kept


class CheckpointReader:
    def __init__(self, place: ArtifactStorage | Path) -> None:
        self.storage: ArtifactStorage = FilesystemStorage(place) if isinstance(place, Path) else place
        self.being_read: Counter[Folder] = Counter()  # by this process, at the moment
        self._counting = Lock()
        self._upgraded: tuple[bytes, Mapping[str, Newest]] = b"", {}  # a pointer of an earlier version, completed

    @contextmanager
    def reading(self, folder: Folder) -> Iterator[None]:
        """Mark a checkpoint or a data set as being read: this process does not delete it meanwhile."""
        with self._counting:
            self.being_read[folder] += 1
        try:
            yield
        finally:
            with self._counting:
                self.being_read[folder] -= 1
                self.being_read += Counter()  # removes zeros

    def latest(self, dataset: str | None = None) -> CheckpointId | None:
        """Return the newest checkpoint that may be served, of one data set or of all; None if there is none."""
        latest = self.find_latest()
        if dataset is None:
            return latest.checkpoint
        found = latest.datasets.get(dataset)
        return found and found.checkpoint

    def find_latest(self) -> Latest:
        """Read the pointer. If it is invalid, find the newest checkpoint, and set `trouble` to the reason.

        Raises Unreachable if the store does not respond or is gone.
        """
        try:
            return self._interpret(read_bytes(self.storage, POINTER))
        except FileNotFoundError:
            return self._interpret(None)
        except FileInvalid:
            return self._interpret(b"")
        except Unreadable as error:
            return newest(self.manifests())._replace(trouble=str(error))

    def _interpret(self, pointer: bytes | None) -> Latest:
        if pointer is not None:
            return interpret(pointer, self.stands, self.manifests, partial(self._newest_of_each, pointer))
        found = newest(self.manifests())
        trouble = f"{POINTER} is missing, although checkpoints exist" if found.checkpoint else None
        return found._replace(trouble=trouble)

    def _newest_of_each(self, pointer: bytes) -> Mapping[str, Newest]:
        """Return the newest checkpoint of each data set, for a pointer of an earlier version."""
        known, datasets = self._upgraded
        # Found once: a process that follows publications reads the pointer every second.
        if known != pointer or not all(self.stands(each.checkpoint) for each in datasets.values()):
            self._upgraded = pointer, newest(self.manifests()).datasets
        return self._upgraded[1]

    def manifests(self, job: str | None = None) -> list[Manifest]:
        """Return the manifests of all usable checkpoints, of one job or of all, oldest first."""
        return self.survey(job)[0]

    def survey(self, job: str | None = None) -> tuple[list[Manifest], list[Unusable]]:
        """Read every manifest. Returns the usable ones, oldest first, and the others with the reason."""
        folders = [folder for folder in self.storage.folders(job) if folder.name.isdecimal()]
        usable, others = [], []
        for folder, data in self.storage.read_each(folders, MANIFEST, RECORD_BYTES):
            checkpoint = CheckpointId(folder.job, int(folder.name))
            try:
                usable.append(check_manifest(data, checkpoint))
            except CheckpointDamaged as error:
                others.append(Unusable(checkpoint, str(error), not isinstance(error, CheckpointNotUnderstood)))
        return sorted(usable, key=lambda manifest: manifest.order), sorted(others)

    def epochs(self, job: str) -> list[int]:
        """Return the epochs of a job that have checkpoints, in order."""
        return sorted(int(folder.name) for folder in self.storage.folders(job) if folder.name.isdecimal())

    def stands(self, checkpoint: CheckpointId) -> bool:
        """Return whether the checkpoint exists. Its files may be damaged."""
        return checkpoint.folder in self.storage.folders(checkpoint.job)

    def manifest(self, checkpoint: CheckpointId) -> Manifest:
        """Read a manifest. Raises CheckpointNotFound, CheckpointDamaged, CheckpointNotUnderstood, Unreadable."""
        try:
            data = read_bytes(self.storage, f"{checkpoint.folder}/{MANIFEST}")
        except FileNotFoundError:
            raise CheckpointNotFound(f"there is no checkpoint {checkpoint}") from None
        except FileInvalid as error:
            raise CheckpointDamaged(f"the manifest of {checkpoint} cannot be read: {error}") from error
        return check_manifest(data, checkpoint)

    def read(self, manifest: Manifest, name: str) -> bytes:
        """Return the bytes of a file after a check of size and SHA-256. Does not read a file that is too large.

        Raises CheckpointDamaged, Unreadable, Unreachable.
        """
        if name not in manifest.files:
            raise CheckpointDamaged(f"the manifest of {manifest.id} does not list {name}")
        with self.reading(manifest.checkpoint.folder):
            return self._read_checked(manifest, name)

    def read_part(self, manifest: Manifest, name: str, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` of a file, or fewer if it ends earlier. They are not checked.

        Raises CheckpointDamaged, CheckpointNotFound, Unreadable, Unreachable.
        """
        try:
            return self.storage.read(f"{manifest.checkpoint.folder}/{name}", start, end)
        except FileNotFoundError:
            raise self._missing(manifest, name) from None

    def _missing(self, manifest: Manifest, name: str) -> CheckpointDamaged | CheckpointNotFound:
        if not self.stands(manifest.checkpoint):
            return CheckpointNotFound(f"{manifest.id} was deleted while it was read")
        return CheckpointDamaged(f"{name} of {manifest.id} is missing")

    def _read_checked(self, manifest: Manifest, name: str) -> bytes:
        path, record = f"{manifest.checkpoint.folder}/{name}", manifest.files[name]
        try:
            data = read_bytes(self.storage, path, record.size)
            if FileRecord.of(data) != record:
                data = self.storage.read_again(path, record.size)
        except FileNotFoundError:
            raise self._missing(manifest, name) from None
        except FileInvalid as error:
            raise CheckpointDamaged(f"{name} of {manifest.id} is damaged: its size differs") from error
        if FileRecord.of(data) != record:
            raise CheckpointDamaged(f"{name} of {manifest.id} is damaged: its checksum differs")
        return data

    def _number_of(self, latest: Latest) -> int:
        """Return the publication counter, also if an earlier version wrote the pointer."""
        return latest.number if latest.number is not None else newest(self.manifests()).number or 0


def check_manifest(data: bytes | OSError, checkpoint: CheckpointId) -> Manifest:
    """Parse a manifest and compare its id. Raises CheckpointDamaged, CheckpointNotUnderstood."""
    if isinstance(data, OSError):
        raise CheckpointDamaged(f"the manifest of {checkpoint} cannot be read: {reason(data)}")
    try:
        manifest = parse(data, Manifest, f"the manifest of {checkpoint}")
    except FileNotUnderstood as error:
        raise CheckpointNotUnderstood(str(error)) from error
    except FileInvalid as error:
        raise CheckpointDamaged(f"the manifest of {checkpoint} cannot be read: {error}") from error
    if manifest.checkpoint != checkpoint:
        raise CheckpointDamaged(f"the manifest of {checkpoint} belongs to {manifest.checkpoint}")
    return manifest
