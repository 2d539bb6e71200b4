"""The records of checkpoints, of what is served, and of training data.

As in `acgan_client.records`, a newer service may add fields.
"""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from acgan_client.records import DataName, Epoch, EpochLosses, FileRecord, Id, Record, TrainingConfig


class Checkpoint(Record):
    """A published checkpoint. `refused` says why it is not served; null if it may be."""

    id: Id
    job: Id
    epoch: int
    created_at: datetime
    config: TrainingConfig
    seconds: float = 0.0
    losses: EpochLosses | None = None
    metrics: dict[str, float] = Field({})
    draws: str = ""
    refused: str | None = None
    dataset_checksum: str
    classes: list[str] | None = None
    device: str
    code_version: str
    warnings: list[str] = Field([])
    fence: int
    number: int | None = None
    job_number: int | None = None
    files: dict[str, FileRecord]
    size: int
    links: dict[str, str]

    shown: ClassVar = ("id", "metrics", "refused", "size")

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from acgan_client.notebook import checkpoints_html

        return checkpoints_html([self], None)


class ImportedCheckpoint(Checkpoint):
    """A checkpoint with imported weights. `is_new` is false if the service had one with the same weights."""

    is_new: bool = Field(True, exclude=True)


class CheckpointManifest(Record):
    id: Id
    files: dict[str, FileRecord]


class UnusableCheckpoint(Record):
    """A checkpoint that exists and cannot be used."""

    id: Id
    job: Id
    epoch: int
    reason: str
    written_by_another_version: bool


class CheckpointList(Record):
    """All checkpoints, newest first. `serving` is the one that `latest` refers to."""

    serving: Id | None
    checkpoints: list[Checkpoint]
    unusable: list[UnusableCheckpoint] = Field([])

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from acgan_client.notebook import checkpoints_html

        return checkpoints_html(self.checkpoints, self.serving)


class Serving(Record):
    """The serving policy, and the checkpoint that `latest` refers to."""

    policy: str = "newest"
    by: str = "epoch"
    checkpoint: Id | None = None
    dataset: DataName | None = None
    serving: Id | None
    serving_dataset: DataName | None = None


class TrainingDataLinks(Record):
    self: str
    preview: str
    images: str | None


class TrainingData(Record):
    """Training data that a run can name. A built-in set has no `version`."""

    name: DataName
    version: int | None
    versions: list[int]
    built_in: bool
    title: str
    description: str
    classes: list[str]
    train_images: int
    test_images: int
    train_counts: list[int] | None
    test_counts: list[int] | None
    source: str
    options: dict[str, str | int | float | None] = Field({})
    warnings: list[str] = Field([])
    created_at: datetime | None
    size: int | None
    checkpoints: int
    newest_checkpoint: Id | None
    links: TrainingDataLinks

    shown: ClassVar = ("name", "version", "classes", "newest_checkpoint")


class TrainingDataList(Record):
    """The built-in sets, then the newest version of each set that users brought."""

    training_data: list[TrainingData]


class Readiness(Record):
    ready: bool
    draining: bool = False
    redis: str
    serving: Id | None
    trouble: str | None = None
    loops: dict[str, str] = Field({})
    worker_loops: dict[str, str] = Field({})


class JobHistory(Record):
    job: Id
    config: TrainingConfig
    epochs: list[Epoch]

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from acgan_client.notebook import curve_html

        return curve_html(self.epochs)
