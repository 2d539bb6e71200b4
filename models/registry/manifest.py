"""The id and the manifest of a checkpoint, and the errors of checkpoints. Without torch."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.config import TrainingConfig
from models.data.catalog import DIGITS
from models.data.reference import name_of
from models.errors import Conflict, NotFound, Unavailable
from models.records import EpochLosses
from models.registry.storage.base import Folder
from models.version import code_version

GENERATOR = "generator.safetensors"
FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"  # without a path: a manifest cannot name files of other folders


class CheckpointNotFound(NotFound, code="checkpoint-not-found"):
    """No checkpoint has this id."""


class CheckpointDamaged(Unavailable, code="checkpoint-damaged"):
    """A file of the checkpoint does not match its manifest. The message names the file and the difference."""


class CheckpointNotUnderstood(CheckpointDamaged, code="checkpoint-not-understood"):
    """Another version wrote the manifest. It is intact, but this version neither uses nor deletes it."""


class NotServable(Conflict, code="checkpoint-refused"):
    """The checkpoint exists, but was refused by the quality gate. The message gives the reason."""


class FenceRejected(Exception):
    """Another worker has claimed the job with a higher fence token."""


class TokensExhausted(Unavailable, code="fence-tokens-exhausted"):
    """The counter of fence tokens is beyond the highest token that a store accepts."""


class JobConflict(Conflict, code="job-conflict"):
    """Another job has the same id, or the config or training data of the job have changed."""


class StateNotUnderstood(Conflict, code="state-not-understood"):
    """Another version of the program saved the job's resume state. It is kept and not overwritten."""


class StateDeleted(Conflict, code="state-deleted"):
    """The job's resume state was deleted to stay within ACGAN_STORE_LIMIT."""


class CheckpointId(NamedTuple):
    """Id of a checkpoint. Sorts by job, then epoch; job ids begin with the time of acceptance."""

    job: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.job}-e{self.epoch:03d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an id. Raises CheckpointNotFound if the text is not an id."""
        match = re.fullmatch(r"([0-9a-z][0-9a-z-]{0,63})-e(\d{3,4})", text)
        if match is None:
            raise CheckpointNotFound(
                f"there is no checkpoint {text[:80]!r} (ids look like 20260131-120000-1a2b3c-e005)"
            )
        return cls(match[1], int(match[2]))

    @property
    def folder(self) -> Folder:
        return Folder(self.job, f"{self.epoch:03d}")


def check_id(text: str) -> str:
    """Validate the id of a checkpoint in a record. Raises ValueError."""
    try:
        CheckpointId.parse(text)
    except CheckpointNotFound as error:
        raise ValueError("not the id of a checkpoint") from error  # other exceptions pass through pydantic
    return text


class Order(NamedTuple):
    """Sort key that puts newer checkpoints last. It uses no clock.

    Jobs are sorted by the store's count of first claims; jobs older than this counter (0) by id.
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
    """Description of a checkpoint: its job, config, figures and files."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    id: Annotated[str, AfterValidator(check_id)] = Field(examples=["20260131-120000-1a2b3c-e005"])
    job: str
    epoch: int
    created_at: datetime
    config: TrainingConfig
    seconds: float = Field(0.0, description="Duration of the epoch's training and evaluation; 0 if unknown.")
    losses: EpochLosses | None = Field(None, description="Null if unknown, as for imported weights.")
    metrics: dict[str, float] = Field({}, description="Quality figures; empty if none were computed.")
    draws: FileName = Field(GENERATOR, description="File of the served generator: the one with the better digits.")
    refused: str | None = Field(None, description="Reason why it is not served; null if it may be served.")
    dataset_checksum: str
    classes: tuple[str, ...] | None = Field(
        None,
        description="Names of the classes that the generator draws, by label; null in a manifest of an earlier "
        "version: the ten digits.",
    )
    device: str
    code_version: str
    warnings: list[str] = Field([], description="Reasons why it may differ from an uninterrupted run's; usually empty.")
    fence: int = Field(description="Fence token under which the worker wrote this checkpoint.")
    number: int | None = Field(
        None, description="Position in the store's order of publication; null if an earlier version wrote it."
    )
    job_number: int | None = Field(
        None,
        description="Position of its job in the order of first claims: checkpoints of later jobs replace earlier ones.",
    )
    files: dict[FileName, FileRecord]

    @classmethod
    def for_epoch(
        cls,
        checkpoint: CheckpointId,
        config: TrainingConfig,
        dataset_checksum: str,
        device: str,
        losses: EpochLosses | None,
        metrics: dict[str, float],
        *,
        seconds: float = 0.0,
        draws: str = GENERATOR,
        refused: str | None = None,
        warnings: Sequence[str] = (),
        fence: int = 0,
        classes: Sequence[str] = DIGITS,
    ) -> Self:
        """Describe an epoch that ends now. The store adds files and numbers when it publishes the checkpoint."""
        return cls(
            id=str(checkpoint),
            job=checkpoint.job,
            epoch=checkpoint.epoch,
            created_at=datetime.now(UTC),
            config=config,
            seconds=seconds,
            losses=losses,
            metrics=metrics,
            draws=draws,
            refused=refused,
            dataset_checksum=dataset_checksum,
            classes=tuple(classes),
            device=device,
            code_version=code_version(),
            warnings=list(warnings),
            fence=fence,
            files={},
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the generator draws, by label."""
        return self.classes or DIGITS

    @property
    def dataset_name(self) -> str:
        """Name of the training data, without its version."""
        return name_of(self.config.dataset)

    @property
    def order(self) -> Order:
        return Order(self.job_number or 0, self.job, self.epoch)

    @property
    def checkpoint(self) -> CheckpointId:
        return CheckpointId(self.job, self.epoch)

    @property
    def total_size(self) -> int:
        return sum(file.size for file in self.files.values())
