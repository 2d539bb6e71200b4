"""Records that tests fill in the same way: an epoch's losses, and the manifest of a checkpoint with them."""

from datetime import timedelta

from models.config import TrainingConfig
from models.records import EpochLosses, Loss, SplitLosses
from models.registry.store import CheckpointId, Manifest


def losses(loss: float = 2.0) -> EpochLosses:
    row = Loss(loss=loss, generation_loss=loss / 2, auxiliary_loss=loss / 2)
    split = SplitLosses(train=row, test=row)
    return EpochLosses(generator=split, discriminator=split)


def manifest(job: str, epoch: int = 1, age_seconds: float = 0, fence: int = 1) -> Manifest:
    made = Manifest.for_epoch(CheckpointId(job, epoch), TrainingConfig(), "sha256:0", "cpu", losses(), {}, fence=fence)
    created_at = made.created_at - timedelta(seconds=age_seconds)
    return made.model_copy(update={"created_at": created_at, "code_version": "test"})
