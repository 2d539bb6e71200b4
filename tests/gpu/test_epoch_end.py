"""The steps between two epochs, on a GPU: evaluation, averaging, folding, plot, quality gate, files."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from models.config import TrainingConfig
from models.data.dataset import Dataset
from models.evaluation.judge import bundled_judge
from models.evaluation.quality_gate import QualityGate
from models.evaluation.verifier import find_verifier
from models.networks import weights
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.networks.weights import generator_from_bytes
from models.registry import bundled
from models.sampling.epoch_plot import epoch_plot
from models.sampling.sampler import SampleRange, prepare
from models.training import training_state
from models.training.trainer import Trainer
from tests.gpu.conftest import CPU, small

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def good() -> Generator:
    """The bundled generator, on the CPU."""
    checkpoint = bundled.checkpoint()
    assert checkpoint is not None
    manifest = bundled.STORE.manifest(checkpoint)
    return generator_from_bytes(bundled.STORE.read(manifest, manifest.draws))


def moved(generator: Generator, device: torch.device) -> Generator:
    return copy.deepcopy(generator).to(device).eval()


def trained(config: TrainingConfig, digits: Dataset, device: torch.device) -> Trainer:
    trainer = Trainer(config, digits, device)
    for iteration in range(3):
        trainer.step(1, iteration)
    trainer.iteration = 3
    return trainer


def copied(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trainer.tensors().items()}


def parts_of(folded: FoldedGenerator) -> Iterator[Tensor]:
    """All tensors of a folded generator, in the order of its attributes."""
    for value in vars(folded).values():
        values = value if isinstance(value, tuple) else (value,)
        yield from (each for each in values if isinstance(each, Tensor))


def test_an_evaluation_is_deterministic_and_changes_nothing(
    config: TrainingConfig, digits: Dataset, device: torch.device
) -> None:
    trainer = trained(config, digits, device)
    before = copied(trainer)
    assert trainer.evaluate(1) == trainer.evaluate(1)
    assert trainer.evaluate(1) != trainer.evaluate(2)
    assert [name for name, tensor in trainer.tensors().items() if not torch.equal(tensor, before[name])] == []


def test_the_averaged_generator_is_on_the_device_and_does_not_affect_training(
    config: TrainingConfig, digits: Dataset, device: torch.device
) -> None:
    trainer = trained(config, digits, device)
    before = copied(trainer)
    average = trainer.averaged_generator()
    assert {parameter.device.type for parameter in average.parameters()} == {device.type}
    for name, tensor in trainer.compute.average.of(3).items():
        assert torch.equal(average.state_dict()[name], tensor), name
    for name, tensor in trainer.averaged_generator().state_dict().items():
        assert torch.equal(average.state_dict()[name], tensor), name
    assert [name for name, tensor in trainer.tensors().items() if not torch.equal(tensor, before[name])] == []


def test_a_generator_folded_on_the_gpu_equals_one_folded_on_the_cpu(good: Generator, device: torch.device) -> None:
    on_cpu, on_device = FoldedGenerator(good, CPU), FoldedGenerator(moved(good, device), device)
    for expected, part in zip(parts_of(on_cpu), parts_of(on_device), strict=True):
        assert part.device.type == device.type
        assert (part.cpu().double() - expected.double()).abs().max() < 1e-4 * expected.double().abs().max()


def test_a_folded_generator_draws_the_same_on_the_gpu(good: Generator, device: torch.device) -> None:
    noise, labels = SampleRange(None, 20, 8).cut(0, 200, good.latent_size)
    exact = copy.deepcopy(good).double()
    with torch.inference_mode():
        expected = exact(noise.double(), labels)
    drawn = prepare(moved(good, device), device)(noise.to(device), labels.to(device))
    assert (drawn.cpu() - expected).abs().max() < 1e-3  # a grey level is 8e-3


def test_the_plot_of_an_epoch_is_within_one_grey_level_of_the_cpus(
    good: Generator, digits: Dataset, device: torch.device
) -> None:
    expected = epoch_plot(good, digits, 2, 1337)
    plot = epoch_plot(moved(good, device), digits.to(device), 2, 1337)
    assert plot.shape == expected.shape
    assert np.abs(plot.astype(int) - expected.astype(int)).max() <= 1


def test_the_quality_gate_decides_as_on_the_cpu(good: Generator, device: torch.device) -> None:
    blank, verdicts = Generator(good.latent_size), []
    for each in (CPU, device):
        judge = bundled_judge("mnist", "choosing")
        assert judge is not None
        gate = QualityGate(judge, good.latent_size, each, digits=25)
        verdicts.append(gate.verdict(moved(blank, each), moved(good, each)))
    expected, verdict = verdicts
    assert verdict.averaged
    assert verdict.refused is None
    assert verdict.metrics == pytest.approx(expected.metrics, rel=0.02, abs=0.041)  # one digit of 25


def test_a_generator_that_is_not_finite_is_refused(good: Generator, device: torch.device) -> None:
    judge = bundled_judge("mnist", "choosing")
    assert judge is not None
    broken = moved(good, device)
    with torch.no_grad():
        broken.dense.weight[0, 0] = float("nan")
    verdict = QualityGate(judge, good.latent_size, device, digits=2).verdict(broken)
    assert verdict.refused == "its weights are not finite"


def test_digits_are_verified_as_on_the_cpu(digits: Dataset, device: torch.device) -> None:
    images, labels = digits.test_images.numpy(), digits.test_labels.numpy()
    found = [find_verifier("printed", each) for each in (CPU, device)]
    expected, probabilities = (verifier.probabilities(images, labels) for verifier in found if verifier)
    assert np.abs(probabilities - expected).max() < 1e-4


def test_files_contain_the_gpus_weights(digits: Dataset, device: torch.device) -> None:
    trainer = trained(small(), digits, device)
    read = weights.generator_from_bytes(weights.to_bytes(trainer.generator))
    for name, tensor in trainer.generator.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor.cpu()), name
    state = training_state.from_bytes(training_state.to_bytes(trainer.state()))
    for name, tensor in trainer.tensors().items():
        assert torch.equal(state.tensors[name], tensor.cpu()), name
