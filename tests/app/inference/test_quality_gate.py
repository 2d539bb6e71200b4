"""The quality gate: forty bad checkpoints are refused, and twenty good ones pass.

The checkpoints derive from the bundled generator and take the path of every epoch: judged, published, then found by the
model manager.
"""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.inference.model_manager import ModelManager
from models.evaluation.classifier import look
from models.evaluation.judge import bundled_judge
from models.evaluation.metrics import Moments, frechet
from models.evaluation.quality_gate import QualityGate
from models.evaluation.resampling import interval
from models.networks.acgan import Generator
from models.networks.weights import to_bytes
from models.registry.store import AVERAGE, GENERATOR, MANIFEST, CheckpointId, CheckpointStore, Manifest
from models.sampling.sampler import draw, latents, prepare
from tests.models.registry.test_store import NEW, OLD, manifest

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gate(good: Generator) -> QualityGate:
    judge = bundled_judge("mnist", "choosing")
    assert judge
    return QualityGate(judge, good.latent_size, CPU, digits=25)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def publish(store: CheckpointStore, gate: QualityGate, epoch: int, raw: Generator, job: str = NEW) -> Manifest:
    verdict = gate.verdict(raw, raw)
    made = manifest(job, epoch).model_copy(
        update={
            "metrics": verdict.metrics,
            "refused": verdict.refused,
            "draws": AVERAGE if verdict.averaged else GENERATOR,
        }
    )
    return store.publish(made, {GENERATOR: to_bytes(raw), AVERAGE: to_bytes(raw)})


Poison = Callable[[Generator], None]


def not_finite(value: float, place: int) -> Poison:
    def poison(generator: Generator) -> None:
        tensors = list(generator.parameters())
        tensors[place % len(tensors)].data.flatten()[place * 7 % 50] = value

    return poison


def constant(ink: float) -> Poison:
    def poison(generator: Generator) -> None:
        generator.upsample_28.weight.data.zero_()
        assert generator.upsample_28.bias is not None
        generator.upsample_28.bias.data.fill_(ink)

    return poison


def collapsed(label: int) -> Poison:
    """One digit of the class in every image: its latent no longer depends on the noise."""

    def poison(generator: Generator) -> None:
        generator.embedding.weight.data[label] = 0

    return poison


def permuted(order: list[int]) -> Poison:
    def poison(generator: Generator) -> None:
        generator.embedding.weight.data = generator.embedding.weight.data[order]

    return poison


def swapped(label: int) -> list[int]:
    order = list(range(10))
    order[label], order[label - 1] = order[label - 1], order[label]
    return order


POISONS = [
    *(not_finite(float("nan"), place) for place in range(5)),
    *(not_finite(float("inf"), place) for place in range(5, 8)),
    *(constant(ink) for ink in (-9.0, -1.0, 0.0, 9.0)),
    *(collapsed(label) for label in range(10)),
    *(permuted([(label + by) % 10 for label in range(10)]) for by in (1, 3, 5)),
    *(permuted(swapped(label)) for label in range(1, 8)),
]
GROUPS = 6  # each function poisons in several ways
assert len(POISONS) == 32  # with the changed and foreign files of the test below, 40 bad checkpoints
POISONS_BY_GROUP = [
    pytest.param(POISONS[group::GROUPS], id=f"group {group}", marks=pytest.mark.long if group else ())
    for group in range(GROUPS)
]


@pytest.mark.parametrize("poisons", POISONS_BY_GROUP)
def test_no_poisoned_checkpoint_is_ever_served(
    store: CheckpointStore, gate: QualityGate, good: Generator, poisons: list[Poison]
) -> None:
    first = publish(store, gate, 1, good, job=OLD)
    assert first.refused is None
    model_manager = ModelManager(store, CPU)
    model_manager._refresh()
    assert model_manager.serving == first.id

    for epoch, poison in enumerate(poisons, start=1):
        poisoned = copy.deepcopy(good)
        poison(poisoned)
        made = publish(store, gate, epoch, poisoned)
        assert made.refused, f"poison {epoch} was let through: {made.metrics}"
        model_manager._refresh()
        assert model_manager.serving == first.id
        anew = ModelManager(store, CPU)  # one without an earlier checkpoint to fall back on
        anew._refresh()
        assert anew.serving == first.id
    assert store.latest() == first.checkpoint


def test_no_changed_or_foreign_checkpoint_is_ever_served(
    store: CheckpointStore, gate: QualityGate, good: Generator
) -> None:
    """A bit is flipped, or the manifest belongs to another job: the model manager detects it when it reads."""
    first = publish(store, gate, 1, good, job=OLD)
    model_manager = ModelManager(store, CPU)
    model_manager._refresh()
    for offset in range(4):
        epoch = 100 + 2 * offset
        flipped = publish(store, gate, epoch, good)
        path = store.folder(flipped.checkpoint) / GENERATOR
        data = bytearray(path.read_bytes())
        data[len(data) * (offset + 1) // 5] ^= 1 << offset
        path.write_bytes(data)
        model_manager._refresh()
        assert model_manager.serving == first.id
        foreign = publish(store, gate, epoch + 1, good)
        shutil.copy(store.folder(first.checkpoint) / MANIFEST, store.folder(foreign.checkpoint) / MANIFEST)
        model_manager._refresh()
        assert model_manager.serving == first.id
        assert "is damaged" in str(model_manager.trouble) or "belongs to" in str(model_manager.trouble)


@pytest.mark.long
def test_of_twenty_good_checkpoints_at_least_nineteen_are_served(
    store: CheckpointStore, gate: QualityGate, good: Generator
) -> None:
    refused = 0
    for epoch in range(1, 21):
        near = copy.deepcopy(good)
        draws = torch.Generator().manual_seed(epoch)
        for parameter in near.parameters():
            spread = parameter.data.std() if parameter.numel() > 1 else parameter.data.abs()
            parameter.data += 0.01 * epoch * torch.randn(parameter.shape, generator=draws) * spread
        refused += publish(store, gate, epoch, near).refused is not None
    assert refused <= 1
    latest = store.latest()
    assert latest is not None
    assert latest >= CheckpointId(NEW, 19)


def test_the_better_generator_draws(gate: QualityGate, good: Generator) -> None:
    worse = copy.deepcopy(good)
    collapsed(4)(worse)
    assert gate.verdict(worse, good).averaged is True
    assert gate.verdict(good, worse).averaged is False
    assert gate.verdict(good, worse).refused is None


def test_metrics_cover_each_class(gate: QualityGate, good: Generator) -> None:
    """A collapsed class lowers its own variety and that of no other class."""
    before, broken = gate.assess(good), copy.deepcopy(good)
    collapsed(6)(broken)
    after = gate.assess(broken)
    for label in range(10):
        if label != 6:
            assert after.variety[label] == pytest.approx(before.variety[label])
    assert after.variety[6] < 0.1 < before.variety[6]
    assert after.frechet_distance > before.frechet_distance


def test_figures_of_all_classes_have_intervals(gate: QualityGate, good: Generator) -> None:
    """Those of the distances are the jackknife's: the same figure without each tenth of the digits."""
    quality, metrics = gate.assess(good), gate.verdict(good).metrics
    assert metrics["judged_per_class"] == 25
    for name in ("label_accuracy", "label_accuracy_worst", "variety", "variety_least", "frechet_distance"):
        assert 0 <= metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"], name
    assert metrics["label_accuracy_worst_high"] - metrics["label_accuracy_worst_low"] > 0.1  # of 25 digits
    least = metrics["variety_least_high"] - metrics["variety_least_low"]
    assert least > metrics["variety_high"] - metrics["variety_low"] > 0  # of one class, whose digits are fewer
    for label, value in enumerate(quality.variety):
        low, high = metrics[f"variety_{label}_low"], metrics[f"variety_{label}_high"]
        assert 0 <= low <= round(value, 4) <= high, label
        assert high - low > metrics["variety_high"] - metrics["variety_low"], label  # of one class
    lowest = min(range(10), key=lambda label: quality.variety[label])
    assert metrics[f"variety_{lowest}_low"] == metrics["variety_least_low"]
    kept = [torch.arange(250) % 10 != group for group in range(10)]
    distances = [frechet(Moments.of(quality.features[these]), gate.real) for these in kept]
    low, high = interval(quality.frechet_distance, distances)
    assert metrics["frechet_distance_low"] == pytest.approx(low, abs=2e-4)
    assert metrics["frechet_distance_high"] == pytest.approx(high, abs=2e-4)


def test_a_short_epoch_is_judged_by_few_digits(good: Generator) -> None:
    judge = bundled_judge("mnist", "choosing")
    assert judge
    assert len(QualityGate(judge, good.latent_size, CPU, digits=7).labels) == 70


def test_served_digits_are_recognised_as_often_as_those_of_the_original_weights(good: Generator) -> None:
    """Folding and rounding to bytes cost at most one digit of a thousand; docs/quality.md has the figure for 10,000."""
    judge = bundled_judge("mnist", "reporting")
    assert judge
    labels, noise = torch.arange(1000) % 10, latents(3, 0, 1000, good.latent_size)
    served = torch.from_numpy(draw(prepare(good, CPU), noise, labels))
    with torch.no_grad():
        original = torch.cat([judge.classifier(good(*part))[1].argmax(1) for part in batches(noise, labels)])
    recognised = look(judge.classifier, served).classes
    assert abs(int((recognised == labels).sum()) - int((original == labels).sum())) <= 1


def batches(noise: torch.Tensor, labels: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(noise.split(200), labels.split(200), strict=True))
