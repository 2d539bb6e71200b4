"""The checkpoint store. Checkpoints are published atomically, verified before use, ordered, and never changed.

    <job>/<epoch>/   generator.safetensors, generator_average.safetensors, discriminator.safetensors,
                     samples.png, manifest.json
    <job>/job.json   the fingerprint of the job, and its number in the order of jobs
    <job>/resume.json, resume-*.safetensors    the saved state of the run, until it has succeeded
    <job>/dataset/   the files of a generated data set, if the job made one
    <job>/evaluation/  the result of an evaluation, if the job made one (models/registry/evaluations.py)
    <job>/upload/    a file that a user sent as training data, until the job has read it (storage/uploads.py)
    training-data/   training data that users brought (models/registry/training_data.py)
    fence            the highest fence token of all jobs; each job also has its own fence
    deleted          the highest fence token of the deleted jobs: writes with these tokens are rejected
    latest.json      the checkpoint that `latest` names, and the publication counter
    store.json       the store's identity

A checkpoint is staged, completed by its manifest and placed atomically (models/registry/storage/). Then the pointer
moves, only forwards, to a checkpoint that may be served. Both require that the writer's token equals the job's fence: a
higher fence means that another worker has claimed the job, a lower one that it was claimed in another store.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from models.atomic_files import DELETED
from models.registry.checkpoint_reader import Unusable
from models.registry.claims import FENCE
from models.registry.job_entry import fingerprint
from models.registry.manifest import (
    GENERATOR,
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointNotUnderstood,
    FenceRejected,
    FileRecord,
    JobConflict,
    Manifest,
    NotServable,
    StateDeleted,
    StateNotUnderstood,
    TokensExhausted,
)
from models.registry.pointer import POINTER, Pointer
from models.registry.resume_states import RESUME, ResumeStates
from models.registry.storage import base
from models.registry.storage.base import Fence, Folder
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.storage.reading import seal
from models.registry.training_data import TrainingDataStore

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
    "FenceRejected",
    "FileRecord",
    "JobConflict",
    "Manifest",
    "NotServable",
    "Pointer",
    "StateDeleted",
    "StateNotUnderstood",
    "TokensExhausted",
    "Unusable",
]

AVERAGE = "generator_average.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
SAMPLES = "samples.png"
MANIFEST = base.MANIFEST
DATASET = "dataset"
SHARD_PREFIX = "part-"  # prefix of files with parts of a data set that is being made


class CheckpointStore(ResumeStates):
    """All checkpoints in one storage. Safe for many concurrent readers and writers."""

    # ----------------------------------------------------------------------------
    # Publishing.

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write a checkpoint, and move `latest` to it unless that names a newer one.

        `manifest` has no file records and numbers yet. If the checkpoint exists, it is kept if it is intact, and
        replaced if it is damaged. Returns the manifest of the stored checkpoint. Raises OSError (disk full, not
        writable), StoreReplaced, FenceRejected, JobConflict, and CheckpointNotUnderstood if another version wrote this
        id; then no checkpoint is published.
        """
        self._held(manifest.job, manifest.fence)
        checkpoint = manifest.checkpoint
        records = {name: FileRecord.of(data) for name, data in files.items()}
        staged = self.storage.stage(checkpoint.folder, manifest.fence, dict(files))

        def step() -> Manifest:
            fence = self._held(manifest.job, manifest.fence)
            entry = self._enter(manifest.job, fingerprint(manifest.config), manifest.dataset_checksum)
            standing = self._intact(checkpoint) if self.stands(checkpoint) else None
            if standing is None:
                number = self._number_of(self.find_latest()) + 1
                numbers = {"number": number, "job_number": entry.number or None}
                made = manifest.model_copy(update={"files": records, **numbers})
                self.storage.complete(staged, MANIFEST, seal(made))
                self.storage.place(staged, checkpoint.folder, fence)
            now = standing or made
            self._move_pointer(lambda latest: latest.moved(now, max(self._number_of(latest), now.number or 0)))
            return now

        try:
            with self._cleared(manifest.job):
                published = self.storage.alone(step)
        except BaseException:
            self.storage.discard(staged)
            raise
        if published.files is not records:  # the existing checkpoint is kept
            self.storage.discard(staged)
        return published

    def renew_pointer(self) -> None:
        """After a deletion: let the pointer name the newest checkpoints that exist. Raises OSError."""
        self._move_pointer(lambda latest: latest.pointer(self._number_of(latest)))

    def _intact(self, checkpoint: CheckpointId) -> Manifest | None:
        """Verify an existing checkpoint. Returns its manifest; None if a file is damaged."""
        try:
            manifest = self.manifest(checkpoint)
            for name in manifest.files:
                self.read(manifest, name)
        except CheckpointNotUnderstood:
            raise
        except (CheckpointNotFound, CheckpointDamaged):
            return None
        return manifest

    @property
    def training_data(self) -> TrainingDataStore:
        """Training data that users brought."""
        return TrainingDataStore(self.storage)

    # ----------------------------------------------------------------------------
    # Generated data sets.

    def dataset_workshop(self, job: str) -> Path:
        """Return the folder in which the files of a data set are made. Files of an earlier attempt are still there."""
        return self.storage.workshop(Folder(job, DATASET))

    def publish_dataset(self, job: str, fence: int, check: Callable[[], None] = lambda: None) -> None:
        """Publish the files in the workshop. Raises OSError, FenceRejected.

        `check` is called about once a second meanwhile, and may end it by raising: then nothing is published.
        """

        def held() -> Fence:
            check()
            return self._held(job, fence)

        with self._cleared(job):
            self.storage.deliver(Folder(job, DATASET), fence, held)

    def drop_work(self, job: str, fence: int, name: str) -> None:
        """Delete the unfinished files of a job in its workshop `name`, unless a higher fence than `fence` is stored.

        Raises OSError, and FenceRejected if another worker runs the job, which was resumed: then its files stay. A
        lower fence is no reason: the job failed before this worker claimed it in the store.
        """
        work = self.storage.workshop(Folder(job, name))
        hidden = work.with_name(f".{name}.{secrets.token_hex(4)}{DELETED}")

        def step() -> None:
            self._not_taken_over(job, fence)
            with suppress(FileNotFoundError):
                os.rename(work, hidden)

        self.storage.alone(step)
        shutil.rmtree(hidden, ignore_errors=True)  # not in the exclusive step, because it may take long

    def write_held(self, job: str, fence: int, write: Callable[[], None]) -> None:
        """Call `write`, which changes a data set or its parts, if `fence` is the highest.

        Raises OSError, FenceRejected.
        """

        def step() -> None:
            self._held(job, fence)
            write()

        with self._cleared(job):
            self.storage.alone(step)

    def check_held(self, job: str, fence: int) -> None:
        """Raises FenceRejected if `fence` is not the highest token of the job, and OSError."""
        self._held(job, fence)

    def has_dataset(self, job: str) -> bool:
        return Folder(job, DATASET) in self.storage.folders(job)

    def read_dataset(self, job: str, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Read a file of a data set, or bytes `start` to `end`. Raises FileNotFoundError."""
        return self.storage.read(f"{job}/{DATASET}/{name}", start, end)

    def delete_dataset(self, job: str) -> None:
        self.storage.remove(Folder(job, DATASET))

    @property
    def root(self) -> Path:
        assert isinstance(self.storage, FilesystemStorage), "object storage has no folder"
        return self.storage.root

    def folder(self, checkpoint: CheckpointId) -> Path:
        assert isinstance(self.storage, FilesystemStorage), "object storage has no folder"
        return self.storage.path(checkpoint.folder)
