"""A home with one checkpoint: a copy of a store's latest, or a random generator of the original recipe's shape."""

from pathlib import Path

import torch

from models.config import TrainingConfig
from models.networks.acgan import Generator, initialize
from models.networks.weights import to_bytes
from models.records import EpochLosses, Loss, SplitLosses
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore, Manifest


def publish(home: Path, origin: Path | None) -> str:
    """Publish a checkpoint in the home's store, and return its id. The store `origin` is only read."""
    store = CheckpointStore(home / "checkpoints")
    if origin is None:
        return store.publish(invent(), {GENERATOR: draw_weights()}).id
    source = CheckpointStore(origin)
    latest = source.latest()
    if latest is None:
        raise SystemExit(f"{origin} contains no checkpoint: name a folder such as .acgan/checkpoints")
    manifest = source.manifest(latest)
    return store.publish(manifest, {GENERATOR: source.read(manifest, GENERATOR)}).id


def draw_weights() -> bytes:
    generator = Generator()
    initialize(generator, torch.Generator().manual_seed(1))
    return to_bytes(generator)


def invent() -> Manifest:
    split = SplitLosses(**dict.fromkeys(("train", "test"), Loss(loss=2, generation_loss=1, auxiliary_loss=1)))
    losses = EpochLosses(generator=split, discriminator=split)
    return Manifest.for_epoch(CheckpointId("20260101-000000-random", 1), TrainingConfig(), "none", "cpu", losses, {})
