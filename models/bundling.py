"""Makes the generator that comes with the package, from a run that `acgan train --out RUN` wrote.

python -m models.bundling RUN EPOCH [raw|averaged]
"""

import shutil
import sys
from pathlib import Path

import torch

from models.config import TrainingConfig
from models.evaluation.judge import bundled_judge
from models.evaluation.quality_gate import QualityGate
from models.networks import weights
from models.networks.acgan import Generator
from models.records import EpochLosses, Record
from models.registry.bundled import JOB, STORE
from models.registry.job_entry import ENTRY
from models.registry.store import GENERATOR, CheckpointId, Manifest


class Epoch(Record):
    """The fields of an epoch that go into the manifest."""

    epoch: int
    seconds: float
    losses: EpochLosses
    metrics: dict[str, float]


class Run(Record):
    """The history file that `acgan train` writes."""

    config: TrainingConfig
    dataset_checksum: str
    epochs: list[Epoch]
    warnings: list[str]


def bundle(run: Path, number: int, which: str | None = None) -> Manifest:
    """Put the generator of an epoch into the package, in half precision. It replaces the previous one.

    `which` is `raw` or `averaged`; the default is the one with the smaller Frechet distance.
    """
    history = Run.model_validate_json((run / "history.json").read_bytes())
    epoch = history.epochs[number - 1]
    which = which or min(("averaged", "raw"), key=lambda each: epoch.metrics[f"frechet_distance_{each}"])
    name = f"params_generator_{'average_' if which == 'averaged' else ''}epoch_{number:03d}.safetensors"
    generator = weights.generator_from_bytes((run / name).read_bytes())
    manifest = Manifest.for_epoch(
        CheckpointId(JOB, number),
        history.config,
        history.dataset_checksum,
        "cpu",
        epoch.losses,
        judged(generator),
        seconds=epoch.seconds,
        warnings=history.warnings,
    )
    shutil.rmtree(STORE.root / JOB, ignore_errors=True)
    published = STORE.publish(manifest, {GENERATOR: weights.to_bytes(generator.half())})
    for leftover in ("latest.json", ".lock", f"{JOB}/{ENTRY}"):
        (STORE.root / leftover).unlink(missing_ok=True)
    return published


def judged(generator: Generator) -> dict[str, float]:
    judge = bundled_judge("mnist", "choosing")
    assert judge is not None
    return QualityGate(judge, generator.latent_size, torch.device("cpu")).assess(generator).metrics()


if __name__ == "__main__":
    bundle(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
