"""Publish one checkpoint, between two marks that a trace of system calls shows:

python -m tests.faults.publish_once STORE EPOCH
"""

import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from models.checkpoints import DISCRIMINATOR, GENERATOR, SAMPLES, CheckpointId, CheckpointStore, Manifest
from models.config import TrainingConfig
from models.history import EpochLosses, Loss, SplitLosses

JOB = "20260131-120000-000001"
FILES = {GENERATOR: b"generator" * 3000, DISCRIMINATOR: b"discriminator" * 1000, SAMPLES: b"samples" * 500}
BEGIN, END = "/begin-publication", "/end-publication"


def manifest(epoch: int, fence: int) -> Manifest:
    row = Loss(loss=1, generation_loss=0.5, auxiliary_loss=0.5)
    split = SplitLosses(train=row, test=row)
    return Manifest(
        id=str(CheckpointId(JOB, epoch)),
        job=JOB,
        epoch=epoch,
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
        config=TrainingConfig(),
        losses=EpochLosses(generator=split, discriminator=split),
        dataset_checksum="sha256:0",
        device="cpu",
        code_version="0",
        fence=fence,
        files={},
    )


def mark(name: str) -> None:
    with suppress(FileNotFoundError):
        os.stat(name)


def main() -> None:
    store, epoch = CheckpointStore(Path(sys.argv[1])), int(sys.argv[2])
    mark(BEGIN)
    try:
        store.publish(manifest(epoch, fence=1), FILES)
    except OSError as error:
        mark(END)
        sys.exit(f"not published: {error}")
    mark(END)
    print("published")  # noqa: T201


if __name__ == "__main__":
    main()
