"""Checkpoints: published whole or not at all, verified before use, ordered, never changed. Free of torch.

    <job>/<epoch>/   generator.safetensors, generator_average.safetensors, discriminator.safetensors,
                     samples.png, manifest.json
    <job>/job.json   whose folder this is, and which place it has in the order of jobs
    <job>/resume.json, resume-*.safetensors    where the run stands, until it has succeeded
    <job>/dataset/   the files of a data set, where that is what the job made
    fence            the highest token that was given out to write, of all jobs; each has its own too
    deleted          the highest token of the jobs that were deleted: none of their workers writes any more
    latest.json      what `latest` names, and the publication counter
    store.json       the store's identity

A checkpoint is staged beside its place, completed by its manifest and placed in one step (models/storage/); the pointer
moves after it, only forwards, to what may be served. Both only if the writer's token equals the job's: a higher one
means that another took the job over, a lower one that this is not the store in which the job was claimed.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from models.registry.checkpoint_reader import Unusable
from models.registry.claims import FENCE
from models.registry.job_entry import fingerprint
from models.registry.manifest import (
    GENERATOR,
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointNotUnderstood,
    FileRecord,
    JobConflict,
    Manifest,
    NotServable,
    StateDeleted,
    StateNotUnderstood,
    Superseded,
    TokensExhausted,
)
from models.registry.pointer import POINTER, Pointer
from models.registry.resume_states import RESUME, ResumeStates
from models.registry.storage import base
from models.registry.storage.base import Folder
from models.registry.storage.filesystem import FolderShelf
from models.registry.storage.reading import seal

__all__ = [
    "AVERAGE",
    "DATASET",
    "DISCRIMINATOR",
    "FENCE",
    "GENERATOR",
    "MANIFEST",
    "POINTER",
    "RESUME",
    "SAMPLES",
    "CheckpointDamaged",
    "CheckpointId",
    "CheckpointNotFound",
    "CheckpointNotUnderstood",
    "CheckpointStore",
    "FileRecord",
    "JobConflict",
    "Manifest",
    "NotServable",
    "Pointer",
    "StateDeleted",
    "StateNotUnderstood",
    "Superseded",
    "TokensExhausted",
    "Unusable",
]

AVERAGE = "generator_average.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
SAMPLES = "samples.png"
MANIFEST = base.MANIFEST
DATASET = "dataset"
SHARD_PREFIX = "part-"  # of files with digits of a data set that is being made


class CheckpointStore(ResumeStates):
    """All checkpoints on one shelf. Safe for many readers and writers at once."""

    # ----------------------------------------------------------------------------
    # Publishing.

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write a checkpoint and let `latest` name it, unless a newer one was published already.

        The manifest comes without file records and numbers. If the id exists already and all of its files are what its
        manifest says, it stays as it is; if one is damaged, it is replaced. Returns the manifest of what stands then.
        Raises OSError (disk full, not writable), StoreReplaced, Superseded, JobConflict, and CheckpointNotUnderstood if
        another version wrote this id; nothing is then published.
        """
        self._held(manifest.job, manifest.fence)
        checkpoint = manifest.checkpoint
        records = {name: FileRecord.of(data) for name, data in files.items()}
        staged = self.shelf.stage(checkpoint.folder, manifest.fence, dict(files))

        def step() -> Manifest:
            fence = self._held(manifest.job, manifest.fence)
            entry = self._enter(manifest.job, fence, fingerprint(manifest.config), manifest.dataset_checksum)
            standing = self._intact(checkpoint) if self.stands(checkpoint) else None
            if standing is None:
                number = self._number_of(self.find_latest()) + 1
                numbers = {"number": number, "job_number": entry.number or None}
                made = manifest.model_copy(update={"files": records, **numbers})
                self.shelf.complete(staged, MANIFEST, seal(made))
                self.shelf.place(staged, checkpoint.folder, fence)
            now = standing or made
            self._move_pointer(lambda latest: latest.moved(now, max(self._number_of(latest), now.number or 0)))
            return now

        try:
            with self._cleared(manifest.job):
                published = self.shelf.alone(step)
        except BaseException:
            self.shelf.discard(staged)
            raise
        if published.files is not records:  # what existed stays
            self.shelf.discard(staged)
        return published

    def _intact(self, checkpoint: CheckpointId) -> Manifest | None:
        """Verify what stands: its manifest if every file is what that says, None if one is damaged."""
        try:
            manifest = self.manifest(checkpoint)
            for name in manifest.files:
                self.read(manifest, name)
        except CheckpointNotUnderstood:
            raise
        except (CheckpointNotFound, CheckpointDamaged):
            return None
        return manifest

    # ----------------------------------------------------------------------------
    # Data sets on order.

    def dataset_workshop(self, job: str) -> Path:
        """Where the files of a data set are made; what was made there on this machine earlier is still there."""
        return self.shelf.workshop(Folder(job, DATASET))

    def publish_dataset(self, job: str, fence: int) -> None:
        """Let others have what was made in the workshop. Raises OSError, and Superseded."""
        with self._cleared(job):
            self.shelf.deliver(Folder(job, DATASET), fence, lambda: self._held(job, fence))

    def write_held(self, job: str, fence: int, write: Callable[[], None]) -> None:
        """Write what makes a data set visible, unless another worker has the job. Raises OSError, Superseded."""

        def step() -> None:
            self._held(job, fence)
            write()

        with self._cleared(job):
            self.shelf.alone(step)

    def has_dataset(self, job: str) -> bool:
        return Folder(job, DATASET) in self.shelf.folders(job)

    def read_dataset(self, job: str, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Read a file, or some of its bytes. Raises FileNotFoundError."""
        return self.shelf.read(f"{job}/{DATASET}/{name}", start, end)

    def delete_dataset(self, job: str) -> None:
        self.shelf.remove(Folder(job, DATASET))

    @property
    def root(self) -> Path:
        assert isinstance(self.shelf, FolderShelf), "object storage has no folder"
        return self.shelf.root

    def folder(self, checkpoint: CheckpointId) -> Path:
        assert isinstance(self.shelf, FolderShelf), "object storage has no folder"
        return self.shelf.path(checkpoint.folder)
