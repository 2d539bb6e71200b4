"""What a checkpoint is: its id, its manifest, and the ways in which one can fail. Free of torch."""

import hashlib
import re
from datetime import datetime
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.config import TrainingConfig
from models.history import EpochLosses
from models.storage.shelf import Folder

GENERATOR = "generator.safetensors"
FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"  # a plain name: a manifest cannot name a file elsewhere


class CheckpointNotFound(Exception):
    """No checkpoint has this id."""


class CheckpointDamaged(Exception):
    """A file of the checkpoint is not what its manifest says. The message says which and how."""


class CheckpointNotUnderstood(CheckpointDamaged):
    """Another version of the program wrote its manifest: it is whole, and this version neither uses nor deletes it."""


class NotServable(Exception):
    """The checkpoint stands, but its digits were refused. The message says why."""


class Superseded(Exception):
    """Another has taken over to write for this job."""


class JobConflict(Exception):
    """Another job has the same id, or the job has another config or other training data than before."""


class StateDeleted(Exception):
    """The job's resume state was deleted to stay within ACGAN_STORE_LIMIT."""


class CheckpointId(NamedTuple):
    """Orders by run, then epoch: job ids begin with the time at which they were accepted."""

    job: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.job}-e{self.epoch:03d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises CheckpointNotFound if the text cannot be an id."""
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


class Order(NamedTuple):
    """Which of two checkpoints is newer. No clock decides.

    Jobs are ordered by when they were first claimed, as counted by the store; jobs from before that count (0) by id.
    """

    job_number: int
    job: str
    epoch: int


FileName = Annotated[str, Field(pattern=FILE_NAME)]


class FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int = Field(description="In bytes.")

    @classmethod
    def of(cls, data: bytes) -> Self:
        return cls(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


class Manifest(BaseModel):
    """What a checkpoint is, and what made it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, AfterValidator(_check_id)] = Field(examples=["20260131-120000-1a2b3c-e005"])
    job: str
    epoch: int
    created_at: datetime
    config: TrainingConfig
    seconds: float = Field(0.0, description="The epoch's training and evaluation together; 0 if it is not known.")
    losses: EpochLosses | None = Field(None, description="Null if they are not known, as of imported weights.")
    metrics: dict[str, float] = Field({}, description="Quality figures; empty if none were computed.")
    draws: FileName = Field(GENERATOR, description="The file whose generator is served: that of the better digits.")
    refused: str | None = Field(None, description="Why it is not served; null if it may be.")
    dataset_checksum: str
    device: str
    code_version: str
    warnings: list[str] = Field([], description="Why it may differ from that of an uninterrupted run; usually empty.")
    fence: int = Field(description="The fence token under which the job's worker wrote this.")
    number: int | None = Field(
        None, description="Its place in the store's order of publication; null for one that an earlier version wrote."
    )
    job_number: int | None = Field(
        None,
        description="When its job was first claimed, in that order: later jobs' checkpoints replace earlier ones'.",
    )
    files: dict[FileName, FileRecord]

    @property
    def order(self) -> Order:
        return Order(self.job_number or 0, self.job, self.epoch)

    @property
    def checkpoint(self) -> CheckpointId:
        return CheckpointId(self.job, self.epoch)

    @property
    def total_size(self) -> int:
        return sum(file.size for file in self.files.values())
