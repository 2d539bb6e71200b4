"""Checkpoints: published whole or not at all, verified before use, ordered, never changed. Free of torch.

    <job>/<epoch>/   generator.safetensors, generator_average.safetensors, discriminator.safetensors,
                     samples.png, manifest.json
    <job>/resume.json, resume-*.safetensors    where the run stands, until it has succeeded
    <job>/dataset/   the files of a data set, where that is what the job made
    fence            the highest token that was given out to write, of all jobs; each has its own too
    latest.json      what `latest` names

A checkpoint is laid beside its place, manifest last, and placed in one step (models/storage/); the pointer moves after
it, only forwards, to what may be served. Both only as long as the writer's token is the job's highest.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.config import TrainingConfig
from models.history import EpochLosses
from models.storage import shelf
from models.storage.folder import FolderShelf
from models.storage.shelf import Fence, Folder, Shelf

GENERATOR = "generator.safetensors"
AVERAGE = "generator_average.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
SAMPLES = "samples.png"
MANIFEST = shelf.MANIFEST
POINTER = "latest.json"
RESUME = "resume.json"
FENCE = "fence"
DATASET = "dataset"


class CheckpointNotFound(Exception):
    """No checkpoint has this id."""


class CheckpointDamaged(Exception):
    """A file of the checkpoint is not what its manifest says. The message says which and how."""


class NotServable(Exception):
    """The checkpoint stands, but its digits were refused. The message says why."""


class Superseded(Exception):
    """Another has taken over to write for this job."""


class CheckpointId(NamedTuple):
    """Orders by run, then epoch: job ids begin with the time at which they were accepted."""

    job: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.job}-e{self.epoch:03d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises CheckpointNotFound where the text cannot be an id."""
        match = re.fullmatch(r"([0-9a-z][0-9a-z-]{0,63})-e(\d{3,4})", text)
        if match is None:
            raise CheckpointNotFound(f"there is no checkpoint {text[:80]!r}: ids look like 20260131-120000-1a2b3c-e005")
        return cls(match[1], int(match[2]))

    @property
    def folder(self) -> Folder:
        return Folder(self.job, f"{self.epoch:03d}")


def _check_id(text: str) -> str:
    CheckpointId.parse(text)
    return text


class FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int = Field(description="In bytes.")

    @classmethod
    def of(cls, data: bytes) -> Self:
        return cls(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


class Manifest(BaseModel):
    """What a checkpoint is and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, AfterValidator(_check_id)] = Field(examples=["20260131-120000-1a2b3c-e005"])
    job: str
    epoch: int
    created_at: datetime
    config: TrainingConfig
    seconds: float = Field(0.0, description="The epoch's training and evaluation together; 0 where it is not known.")
    losses: EpochLosses | None = Field(None, description="Null where they are not known: of weights from elsewhere.")
    metrics: dict[str, float] = Field({}, description="Quality figures; empty where none were computed.")
    draws: str = Field(GENERATOR, description="The file whose generator is served: that of the better digits.")
    refused: str | None = Field(None, description="Why it is not served, where it is not.")
    dataset_checksum: str
    device: str
    code_version: str
    warnings: list[str] = Field([], description="Why it may differ from that of an uninterrupted run; usually empty.")
    fence: int = Field(description="The fence token under which the job's worker wrote this.")
    files: dict[str, FileRecord]

    @property
    def checkpoint(self) -> CheckpointId:
        return CheckpointId(self.job, self.epoch)

    @property
    def total_size(self) -> int:
        return sum(file.size for file in self.files.values())


class Pointer(BaseModel):
    model_config = ConfigDict(frozen=True)

    checkpoint: str
    published_at: datetime


class CheckpointStore:
    """All checkpoints on one shelf. Safe for many readers and writers at once."""

    def __init__(self, place: Shelf | Path) -> None:
        self.shelf: Shelf = FolderShelf(place) if isinstance(place, Path) else place

    # ----------------------------------------------------------------------------
    # Writing.

    def take(self, job: str, fence: int) -> None:
        """Let nobody with a lower token write for the job any more, and clear away what they left half done.

        Raises Superseded where a higher one was given out already, and OSError.
        """

        def step() -> None:
            self.shelf.raise_fence(job, fence, self._held(job, fence))
            self.shelf.change(FENCE, lambda old: str(fence).encode() if fence > self._highest_of(old) else None)
            self.shelf.sweep(job)

        self.shelf.alone(step)

    def highest_fence(self) -> int:
        """The highest token that was ever given out to write here: 0 before the first."""
        try:
            return self._highest_of(self.shelf.read(FENCE))
        except FileNotFoundError:
            return 0

    def _highest_of(self, told: bytes | None) -> int:
        try:
            return int(told or 0)
        except ValueError:  # only a broken disk can do this
            return max((manifest.fence for manifest in self.manifests()), default=0)

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write a checkpoint and let `latest` name it, unless a later one was published already.

        The manifest comes without file records; they are taken from `files`. Publishing the same id again keeps what
        stands, if its manifest can be read. Raises OSError where the disk is full or not writable, and Superseded;
        nothing is then published.
        """
        checkpoint, staged = manifest.checkpoint, ""
        if self._standing(checkpoint) is None:
            records = {name: FileRecord.of(data) for name, data in files.items()}
            manifest = manifest.model_copy(update={"files": records})
            told = manifest.model_dump_json(indent=2).encode()
            staged = self.shelf.stage(checkpoint.folder, manifest.fence, {**files, MANIFEST: told})

        def step() -> Manifest:
            fence = self._held(manifest.job, manifest.fence)
            standing = self._standing(checkpoint)
            if standing is None:
                self.shelf.place(staged, checkpoint.folder, fence)
            else:
                self.shelf.discard(staged)
            self._advance(standing or manifest)
            return standing or manifest

        try:
            return self.shelf.alone(step)
        except Superseded:
            self.shelf.discard(staged)
            raise

    def _standing(self, checkpoint: CheckpointId) -> Manifest | None:
        try:
            return self.manifest(checkpoint)
        except (CheckpointNotFound, CheckpointDamaged):
            return None

    def _advance(self, manifest: Manifest) -> None:
        def later(old: bytes | None) -> bytes | None:
            current = None if old is None else self._named(old)
            if current is not None and current >= manifest.checkpoint:
                return None
            pointer = Pointer(checkpoint=manifest.id, published_at=manifest.created_at)
            return pointer.model_dump_json(indent=2).encode()

        if manifest.refused is None:
            self.shelf.change(POINTER, later)

    def _held(self, job: str, token: int) -> Fence:
        """Raises Superseded where a higher token than this was given out to write for the job."""
        fence = self.shelf.fence(job)
        if fence.token > token:
            raise Superseded(f"another worker has taken job {job} over")
        return fence

    # ----------------------------------------------------------------------------
    # Reading.

    def latest(self) -> CheckpointId | None:
        """What was published last and may be served, or None before the first publication."""
        try:
            return self._named(self.shelf.read(POINTER))
        except FileNotFoundError:
            return None

    def _named(self, pointer: bytes) -> CheckpointId | None:
        try:
            return CheckpointId.parse(Pointer.model_validate_json(pointer).checkpoint)
        except (ValidationError, CheckpointNotFound):
            # Only a hand or a broken disk can do this: fall back on what stands.
            return max((each.checkpoint for each in self.manifests() if each.refused is None), default=None)

    def manifests(self) -> list[Manifest]:
        """Every checkpoint that stands, oldest first; what cannot be read is left out."""
        found = []
        folders = [folder for folder in self.shelf.folders() if folder.name.isdecimal()]
        for data in self.shelf.read_each(folders, MANIFEST):
            with suppress(ValidationError):
                found.append(Manifest.model_validate_json(data, extra="ignore"))
        return sorted(found, key=lambda manifest: manifest.checkpoint)

    def epochs(self, job: str) -> list[int]:
        """The epochs of a job whose checkpoints stand, in order."""
        return sorted(int(folder.name) for folder in self.shelf.folders(job) if folder.name.isdecimal())

    def stands(self, checkpoint: CheckpointId) -> bool:
        """Whether there is such a checkpoint. Its files may be damaged."""
        return checkpoint.folder in self.shelf.folders(checkpoint.job)

    def manifest(self, checkpoint: CheckpointId) -> Manifest:
        """Raises CheckpointNotFound, or CheckpointDamaged where the manifest cannot be read."""
        try:
            data = self.shelf.read(f"{checkpoint.folder}/{MANIFEST}")
            manifest = Manifest.model_validate_json(data, extra="ignore")
        except FileNotFoundError:
            raise CheckpointNotFound(f"there is no checkpoint {checkpoint}: see GET /checkpoints") from None
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise CheckpointDamaged(f"the manifest of {checkpoint} cannot be read: {reason}") from error
        if manifest.checkpoint != checkpoint:
            raise CheckpointDamaged(f"the manifest of {checkpoint} is that of {manifest.checkpoint}")
        return manifest

    def read(self, manifest: Manifest, name: str) -> bytes:
        """Return a file's bytes, checked against size and SHA-256. Raises CheckpointNotFound or CheckpointDamaged."""
        if name not in manifest.files:
            raise CheckpointDamaged(f"the manifest of {manifest.id} lists no {name}")
        try:
            data = self.shelf.read(f"{manifest.checkpoint.folder}/{name}")
            if FileRecord.of(data) != manifest.files[name]:
                data = self.shelf.read_again(f"{manifest.checkpoint.folder}/{name}")
        except FileNotFoundError:
            raise CheckpointDamaged(f"{name} of {manifest.id} is gone") from None
        if FileRecord.of(data) != manifest.files[name]:
            raise CheckpointDamaged(f"{name} of {manifest.id} is not what was published: its checksum differs")
        return data

    # ----------------------------------------------------------------------------
    # Resume states: one a job, the last one.

    def save_state(self, job: str, data: bytes, fence: int | None = None) -> None:
        """Keep a run's state instead of the one before. Raises OSError, Superseded; the one before then stands."""
        record = FileRecord.of(data)
        name = f"resume-{record.sha256[:16]}.safetensors"
        self.shelf.write(f"{job}/{name}", data)

        def step() -> None:
            if fence is not None:
                self._held(job, fence)
            self.shelf.write(f"{job}/{RESUME}", record.model_dump_json().encode())
            self._delete_states(job, but=name)

        self.shelf.alone(step)

    def load_state(self, job: str) -> bytes | None:
        """Return the state kept last, or None where there is none. Raises CheckpointDamaged."""
        try:
            record = FileRecord.model_validate_json(self.shelf.read(f"{job}/{RESUME}"))
            data = self.shelf.read(f"{job}/resume-{record.sha256[:16]}.safetensors")
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise CheckpointDamaged(f"the resume state of {job} cannot be found: {RESUME} is damaged") from error
        if FileRecord.of(data) != record:
            raise CheckpointDamaged(f"the resume state of {job} is not what was kept: its checksum differs")
        return data

    def drop_state(self, job: str) -> None:
        self.shelf.delete(f"{job}/{RESUME}")
        self._delete_states(job)

    def _delete_states(self, job: str, but: str = "") -> None:
        for name in self.shelf.names(job):
            if re.fullmatch(r"resume-.*\.safetensors", name) and name != but:
                self.shelf.delete(f"{job}/{name}")

    # ----------------------------------------------------------------------------
    # Data sets on order.

    def dataset_workshop(self, job: str) -> Path:
        """Where the files of a data set are made; whoever goes on with it on this machine finds what lies there."""
        return self.shelf.workshop(Folder(job, DATASET))

    def publish_dataset(self, job: str, fence: int) -> None:
        """Let others have what was made in the workshop. Raises OSError, and Superseded."""
        self.shelf.deliver(Folder(job, DATASET), fence, lambda: self._held(job, fence))

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
