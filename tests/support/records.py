"""Records that tests fill in the same way: an epoch's losses, and the manifest of a checkpoint with them."""

from datetime import UTC, datetime, timedelta

from models.config import TrainingConfig
from models.records import EpochLosses, Loss, SplitLosses
from models.registry.store import CheckpointId, Manifest


def losses(loss: float = 2.0) -> EpochLosses:
    row = Loss(loss=loss, generation_loss=loss / 2, auxiliary_loss=loss / 2)
    split = SplitLosses(train=row, test=row)
    return EpochLosses(generator=split, discriminator=split)


def manifest(job: str, epoch: int = 1, age_seconds: float = 0, fence: int = 1) -> Manifest:
    return Manifest(
        id=str(CheckpointId(job, epoch)),
        job=job,
        epoch=epoch,
        created_at=datetime.now(UTC) - timedelta(seconds=age_seconds),
        config=TrainingConfig(),
        losses=losses(),
        dataset_checksum="sha256:0",
        device="cpu",
        code_version="test",
        fence=fence,
        files={},
    )
