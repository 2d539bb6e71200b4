"""Checkpoints on disk: published whole or not at all, verified before use, ordered, never changed. Free of torch.

    <root>/<job>/<epoch>/   generator.safetensors, generator_average.safetensors, discriminator.safetensors,
                            samples.png, manifest.json
    <root>/<job>/resume.json, resume-*.safetensors    where the run stands, until it has succeeded
    <root>/<job>/dataset/   the files of a data set, where that is what the job made
    <root>/<job>/fence, <root>/fence    the highest token that was given out to write for the job, and of all
    <root>/latest.json      what `latest` names

A checkpoint is written beside its place, manifest last, and renamed into it; the pointer moves after it, and only
forwards, to what may be served. Both only as long as the writer's token is the job's highest.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.config import TrainingConfig
from models.files import sync_folder, write_durably
from models.history import EpochLosses

GENERATOR = "generator.safetensors"
AVERAGE = "generator_average.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
SAMPLES = "samples.png"
MANIFEST = "manifest.json"
POINTER = "latest.json"
RESUME = "resume.json"
FENCE = "fence"
LOCK_SECONDS = 10.0


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
    """All checkpoints under one folder. Safe for many readers and writers at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # ----------------------------------------------------------------------------
    # Writing.

    def take(self, job: str, fence: int) -> None:
        """Let nobody with a lower token write for the job any more, and clear away what they left half done.

        Raises Superseded where a higher one was given out already, and OSError.
        """
        with self._locked():
            self._check_fence(job, fence)
            write_durably(self.root / job / FENCE, str(fence).encode())
            if fence > self.highest_fence():
                write_durably(self.root / FENCE, str(fence).encode())
            for leftover in (self.root / job).glob(".*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)

    def highest_fence(self) -> int:
        """The highest token that was ever given out to write here: 0 before the first."""
        try:
            return _read_fence(self.root / FENCE)
        except ValueError:  # only a broken disk can do this
            return max((manifest.fence for manifest in self.manifests()), default=0)

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write a checkpoint and let `latest` name it, unless a later one was published already.

        The manifest comes without file records; they are taken from `files`. Publishing the same id again keeps what
        stands, if its manifest can be read. Raises OSError where the disk is full or not writable, and Superseded;
        nothing is then published.
        """
        folder, fence = self.folder(manifest.checkpoint), manifest.fence
        beside = folder.with_name(f".{folder.name}.{fence}")
        if self._standing(manifest.checkpoint) is None:
            records = {name: FileRecord.of(data) for name, data in files.items()}
            manifest = manifest.model_copy(update={"files": records})
            shutil.rmtree(beside, ignore_errors=True)
            try:
                for name, data in files.items():
                    write_durably(beside / name, data)
                write_durably(beside / MANIFEST, manifest.model_dump_json(indent=2).encode())
            except OSError:
                shutil.rmtree(beside, ignore_errors=True)  # the room may be what the next try lacks
                raise
        with self._locked():
            self._check_fence(manifest.job, fence)
            standing = self._standing(manifest.checkpoint)
            if standing is not None:
                manifest = standing
                shutil.rmtree(beside, ignore_errors=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)  # without a manifest that can be read, it is none
                os.rename(beside, folder)
                sync_folder(folder.parent)
                sync_folder(self.root)
            self._advance(manifest)
        return manifest

    def _standing(self, checkpoint: CheckpointId) -> Manifest | None:
        try:
            return self.manifest(checkpoint)
        except (CheckpointNotFound, CheckpointDamaged):
            return None

    def _advance(self, manifest: Manifest) -> None:
        if manifest.refused is not None:
            return
        current = self.latest()
        if current is None or current < manifest.checkpoint:
            pointer = Pointer(checkpoint=manifest.id, published_at=manifest.created_at)
            write_durably(self.root / POINTER, pointer.model_dump_json(indent=2).encode())

    def _check_fence(self, job: str, fence: int) -> None:
        try:
            taken = _read_fence(self.root / job / FENCE)
        except ValueError:  # only a broken disk can do this
            return
        if taken > fence:
            raise Superseded(f"another worker has taken job {job} over")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock. Raises TimeoutError where somebody who was stopped holds it."""
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + LOCK_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"{self.root / '.lock'} has been held for {LOCK_SECONDS:.0f} s") from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    # ----------------------------------------------------------------------------
    # Reading.

    def latest(self) -> CheckpointId | None:
        """What was published last and may be served, or None before the first publication."""
        try:
            pointer = Pointer.model_validate_json((self.root / POINTER).read_bytes())
            return CheckpointId.parse(pointer.checkpoint)
        except FileNotFoundError:
            return None
        except (ValidationError, CheckpointNotFound):
            # Only a hand or a broken disk can do this: fall back on what stands.
            return max((each.checkpoint for each in self.manifests() if each.refused is None), default=None)

    def manifests(self) -> list[Manifest]:
        """Every checkpoint that stands, oldest first; what cannot be read is left out."""
        found = []
        for path in self.root.glob(f"*/[0-9]*/{MANIFEST}"):
            try:
                found.append(Manifest.model_validate_json(path.read_bytes(), extra="ignore"))
            except (OSError, ValidationError):
                continue
        return sorted(found, key=lambda manifest: manifest.checkpoint)

    def epochs(self, job: str) -> list[int]:
        """The epochs of a job whose checkpoints stand, in order."""
        paths = (self.root / job).glob(f"[0-9]*/{MANIFEST}")
        return sorted(int(path.parent.name) for path in paths if path.parent.name.isdecimal())

    def manifest(self, checkpoint: CheckpointId) -> Manifest:
        """Raises CheckpointNotFound, or CheckpointDamaged where the manifest cannot be read."""
        try:
            manifest = Manifest.model_validate_json((self.folder(checkpoint) / MANIFEST).read_bytes(), extra="ignore")
        except (FileNotFoundError, NotADirectoryError):
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
            data = (self.folder(manifest.checkpoint) / name).read_bytes()
        except FileNotFoundError:
            raise CheckpointDamaged(f"{name} of {manifest.id} is gone") from None
        if FileRecord.of(data) != manifest.files[name]:
            raise CheckpointDamaged(f"{name} of {manifest.id} is not what was published: its checksum differs")
        return data

    # ----------------------------------------------------------------------------
    # Resume states: one a job, the last one.

    def save_state(self, job: str, data: bytes) -> None:
        """Keep a run's state instead of the one before. Raises OSError; the one before then stands."""
        folder, record = self.root / job, FileRecord.of(data)
        write_durably(folder / _state_name(record), data)
        write_durably(folder / RESUME, record.model_dump_json().encode())
        self._delete_states(job, but=_state_name(record))

    def load_state(self, job: str) -> bytes | None:
        """Return the state kept last, or None where there is none. Raises CheckpointDamaged."""
        try:
            record = FileRecord.model_validate_json((self.root / job / RESUME).read_bytes())
            data = (self.root / job / _state_name(record)).read_bytes()
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise CheckpointDamaged(f"the resume state of {job} cannot be found: {RESUME} is damaged") from error
        if FileRecord.of(data) != record:
            raise CheckpointDamaged(f"the resume state of {job} is not what was kept: its checksum differs")
        return data

    def drop_state(self, job: str) -> None:
        (self.root / job / RESUME).unlink(missing_ok=True)
        self._delete_states(job)

    def _delete_states(self, job: str, but: str = "") -> None:
        for path in (self.root / job).glob("resume-*.safetensors"):
            if path.name != but:
                path.unlink(missing_ok=True)

    def dataset_folder(self, job: str) -> Path:
        return self.root / job / "dataset"

    def folder(self, checkpoint: CheckpointId) -> Path:
        return self.root / checkpoint.job / f"{checkpoint.epoch:03d}"


def _state_name(record: FileRecord) -> str:
    return f"resume-{record.sha256[:16]}.safetensors"


def _read_fence(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return 0
