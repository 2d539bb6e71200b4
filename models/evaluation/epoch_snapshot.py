"""The results of an epoch, judged and copied to the host, so that they can be written while the next epoch trains."""

import time
from typing import NamedTuple

import numpy as np
from torch import Tensor

from models.evaluation.metrics import Check, go_on
from models.evaluation.quality_gate import QualityGate, Verdict
from models.networks.weights import snapshot
from models.records import EpochResult
from models.sampling.epoch_plot import epoch_plot
from models.sampling.sampler import prepare
from models.training.trainer import Trainer


class EpochSnapshot(NamedTuple):
    """A finished epoch on the host. Later training does not change it."""

    result: EpochResult
    verdict: Verdict
    plot: np.ndarray  # uint8 (1120, 28 (2 K + 1)) for K classes
    generator: dict[str, Tensor]
    average: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    seconds: float  # time to judge and copy


def snapshot_epoch(
    trainer: Trainer, result: EpochResult, gate: QualityGate | None, check: Check = go_on
) -> EpochSnapshot:
    """Judge an epoch's generator, draw its plot, and copy the networks to the host. Folds the generator once.

    Call it before the trainer continues. Without a quality gate the verdict has no figures and refuses nothing.
    `check` is called often. If it raises, the trainer returns to the end of the epoch's training: a run that resumes
    from its state tests and judges this epoch again.
    """
    try:
        return _snapshot(trainer, result, gate, check)
    except BaseException:
        trainer.return_to_end_of(result)
        raise


def _snapshot(trainer: Trainer, result: EpochResult, gate: QualityGate | None, check: Check) -> EpochSnapshot:
    began = time.monotonic()
    average = trainer.averaged_generator()
    folded = prepare(trainer.generator, trainer.device)
    verdict = gate.verdict(folded, average, check) if gate else Verdict(False, {}, None)
    check()
    plot = epoch_plot(folded, trainer.dataset, result.epoch, trainer.config.seed)
    networks = snapshot(trainer.generator), snapshot(average), snapshot(trainer.discriminator)
    return EpochSnapshot(result, verdict, plot, *networks, time.monotonic() - began)
