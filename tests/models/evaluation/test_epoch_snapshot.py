"""The snapshot of an epoch is judged once, drawn as it is served, and unaffected by later training."""

import numpy as np
import pytest
import torch

from models.config import IMAGE_SIZE, TrainingConfig
from models.data.dataset import Dataset
from models.evaluation.epoch_snapshot import EpochSnapshot, snapshot_epoch
from models.evaluation.judge import bundled_judge
from models.evaluation.quality_gate import QualityGate
from models.networks import inference
from models.networks.weights import generator_from_bytes, state_to_bytes, to_bytes
from models.sampling.sampler import draw_digits, prepare
from models.training import training_state
from models.training.trainer import Trainer

CPU = torch.device("cpu")


def finished_epoch(trainer: Trainer, gate: QualityGate | None = None) -> EpochSnapshot:
    return snapshot_epoch(trainer, next(iter(trainer.run())), gate)


def test_each_generator_is_folded_once(
    config: TrainingConfig, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = list[inference.FoldedGenerator]()

    def fold(self: inference.FoldedGenerator, *arguments: object) -> None:
        folds.append(self)
        really_fold(self, *arguments)  # type: ignore[arg-type]

    really_fold = inference.FoldedGenerator.__init__
    monkeypatch.setattr(inference.FoldedGenerator, "__init__", fold)
    judge = bundled_judge("mnist", "choosing")
    assert judge
    trainer = Trainer(config, dataset, CPU)
    snapshot = finished_epoch(trainer, QualityGate(judge, config.latent_size, CPU, digits=5))
    assert len(folds) == 2, "the generator, and that of averaged weights"
    assert {"frechet_distance_raw", "frechet_distance_averaged"} <= snapshot.verdict.metrics.keys()


def test_the_plot_shows_the_served_digits(config: TrainingConfig, dataset: Dataset) -> None:
    snapshot = finished_epoch(Trainer(config, dataset, CPU))
    served = prepare(generator_from_bytes(state_to_bytes(snapshot.generator)), CPU)
    for label in (0, 7):
        column = snapshot.plot[:, label * IMAGE_SIZE : (label + 1) * IMAGE_SIZE].reshape(40, IMAGE_SIZE, IMAGE_SIZE)
        assert np.array_equal(column, draw_digits(served, label, 40, config.seed))


def test_later_training_does_not_change_a_snapshot(config: TrainingConfig, dataset: Dataset) -> None:
    trainer = Trainer(config, dataset, CPU)
    snapshot = finished_epoch(trainer)
    before = [to_bytes(trainer.generator), to_bytes(trainer.averaged_generator()), to_bytes(trainer.discriminator)]
    trainer.step(2, 0)
    assert to_bytes(trainer.generator) != before[0]
    states = snapshot.generator, snapshot.average, snapshot.discriminator
    assert [state_to_bytes(state) for state in states] == before


class Stop(Exception):
    """What `check` raises."""


@pytest.mark.parametrize("calls", [1, 2, 5, 9])
def test_judging_that_is_stopped_is_repeated_with_the_same_result(
    config: TrainingConfig, dataset: Dataset, calls: int
) -> None:
    """The state that is saved then is the one before the epoch's test."""
    judge = bundled_judge("mnist", "choosing")
    assert judge
    gate = QualityGate(judge, config.latent_size, CPU, digits=5)
    trainer = Trainer(config, dataset, CPU)
    result = next(iter(trainer.run()))
    left = iter(range(calls - 1))

    def check() -> None:
        if next(left, None) is None:
            raise Stop

    with pytest.raises(Stop):
        snapshot_epoch(trainer, result, gate, check)
    state = training_state.from_bytes(training_state.to_bytes(trainer.state()))
    assert (state.position.epoch, state.position.iteration) == (1, trainer.batches)
    resumed, undisturbed = Trainer(config, dataset, CPU), Trainer(config, dataset, CPU)
    resumed.load_state(state)
    for mine, theirs in zip(resumed.run(), undisturbed.run(), strict=True):
        assert mine.losses == theirs.losses
        snapshots = snapshot_epoch(resumed, mine, gate), snapshot_epoch(undisturbed, theirs, gate)
        assert snapshots[0].verdict == snapshots[1].verdict
        assert state_to_bytes(snapshots[0].average) == state_to_bytes(snapshots[1].average)
        assert state_to_bytes(snapshots[0].discriminator) == state_to_bytes(snapshots[1].discriminator)
