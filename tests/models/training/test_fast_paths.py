"""Each fast path against the plain step: torch's own layers in float32, with the same noise and dropout masks."""

import copy
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.training import plain
from models.config import DatasetName
from models.data.dataset import load_dataset
from models.networks import layers
from models.networks.layers import Dropout
from models.training.fused.iteration import MAPS, FusedIteration
from models.training.iteration import Iteration
from models.training.trainer import Trainer
from tests.conftest import DATA_DIR, NEEDS_BF16, NOWHERE, small

BATCH = 20


@contextmanager
def injected_dropout() -> Iterator[None]:
    """The k-th dropout of a step has the k-th mask, on every path."""
    masks = torch.Generator().manual_seed(8)

    def forward(self: Dropout, x: Tensor) -> Tensor:
        return x * (torch.rand(x.shape, generator=masks) >= self.p).to(x.dtype) / (1 - self.p)

    def draw_bits(self: FusedIteration, n: int) -> list[Tensor | None]:
        p = self.discriminator.dropout.p
        keeps = [torch.rand(n, channels, size, size, generator=masks) >= p for channels, size in MAPS if p]
        return [torch.where(keep.permute(0, 2, 3, 1), 32767, -32768).short() for keep in keeps] or [None] * len(MAPS)

    with mock.patch.object(Dropout, "forward", forward), mock.patch.object(FusedIteration, "draw_bits", draw_bits):
        yield


@contextmanager
def pieces(signs: list[Tensor], replay: bool) -> Iterator[None]:
    """Record on which side of zero every activation is, or force the recorded sides.

    A number within rounding of zero may fall to either side, and its gradient then differs by far more than rounding.
    """
    noted = iter(signs)

    def leaky_relu(x: Tensor, slope: float = 0.0) -> Tensor:
        if not replay:
            signs.append(x.detach() > 0)
        return torch.where(next(noted), x, slope * x)

    with mock.patch.object(F, "relu", leaky_relu), mock.patch.object(F, "leaky_relu", leaky_relu):
        yield


def steps(iteration: Iteration, draw: int = 3) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Take one iteration with the noise of that draw. Returns both loss rows and every gradient."""
    random = torch.Generator().manual_seed(draw)
    images = torch.rand(BATCH, 1, 28, 28, generator=random) * 2 - 1
    noise, labels = torch.rand(3 * BATCH, 100, generator=random) * 2 - 1, torch.arange(3 * BATCH) % 10
    with injected_dropout():
        losses = [
            iteration.discriminator_step(images, labels[:BATCH], noise[:BATCH], labels[:BATCH]),
            iteration.generator_step(noise[BATCH:], labels[BATCH:]),
        ]
    gradients = {}
    for name, network in (("discriminator", iteration.discriminator), ("generator", iteration.generator)):
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None
            gradients[f"{name}.{key}"] = parameter.grad.clone()
    return losses, gradients


def relative(fast: Tensor, exact: Tensor) -> float:
    return float((fast.detach() - exact.detach()).norm() / exact.detach().norm())


@pytest.fixture(scope="module")
def learned(dataset_name: DatasetName, tmp_path_factory: pytest.TempPathFactory) -> Iteration:
    """Networks that have seen a few images, so that nothing is zero by symmetry."""
    config = small(dataset_name, precision="fp32", batch_size=BATCH, train_examples=3 * BATCH)
    data_dir = Path(DATA_DIR) if DATA_DIR else None
    dataset = load_dataset(config, data_dir, tmp_path_factory.mktemp("cache"), [NOWHERE])
    trainer = Trainer(config, dataset, torch.device("cpu"))
    for iteration in range(3):
        trainer.step(1, iteration)
    return trainer.compute


@pytest.fixture(params=["direct", "fourier", "fused"])
def prepare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Iteration], Iteration]:
    """Turn a plain iteration into one of a fast path, with copies of its tensors."""
    if request.param == "fused":
        return fused
    monkeypatch.setattr(layers, "MANY", 1 if request.param == "fourier" else 10**9)
    return copy.deepcopy


def fused(iteration: Iteration) -> Iteration:
    made = FusedIteration(iteration.config, iteration.precision, iteration.device)
    with torch.no_grad():
        for name, tensor in made.tensors().items():
            tensor.copy_(iteration.tensors()[name])
    return made


def distances(
    iteration: Iteration, expected: tuple[list[Tensor], dict[str, Tensor]], draw: int = 3
) -> tuple[list[float], dict[str, float]]:
    losses, gradients = steps(iteration, draw)
    return (
        [relative(ours, exact) for ours, exact in zip(losses, expected[0], strict=True)],
        {name: relative(gradient, expected[1][name]) for name, gradient in gradients.items()},
    )


@pytest.fixture(scope="module")
def signs() -> list[Tensor]:
    return []


@pytest.fixture(scope="module")
def expected(learned: Iteration, signs: list[Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
    with plain(), pieces(signs, replay=False):
        return steps(copy.deepcopy(learned))


def test_a_fast_step_in_float32_computes_the_same_as_the_plain_one(
    learned: Iteration,
    prepare: Callable[[Iteration], Iteration],
    expected: tuple[list[Tensor], dict[str, Tensor]],
    signs: list[Tensor],
) -> None:
    with pieces(signs, replay=True):
        losses, gradients = distances(prepare(learned), expected)
    assert max(losses) < 1e-5
    assert max(gradients.values()) < 1e-5


@NEEDS_BF16
def test_a_fast_step_in_bf16_is_as_accurate_as_torchs_own(
    learned: Iteration, prepare: Callable[[Iteration], Iteration]
) -> None:
    """Rounding to bf16 alone changes some gradients by a tenth in any implementation; ours must add little to that.

    Judged by the mean over tensors and draws: the error of a single number, such as the last layer's bias, is chance.
    """
    off: dict[str, list[float]] = {"generator": [], "discriminator": []}
    allowed: dict[str, list[float]] = {"generator": [], "discriminator": []}
    for draw in range(3):
        exact, torchs = copy.deepcopy(learned), copy.deepcopy(learned)
        torchs.precision = "bf16"
        ours = prepare(torchs)
        with plain():
            expected = steps(exact, draw)
            _, torchs_own = distances(torchs, expected, draw)
        losses, gradients = distances(ours, expected, draw)
        assert max(losses) < 2e-2
        for name in (name for name, gradient in expected[1].items() if gradient.numel() > 1):
            network = name.partition(".")[0]
            off[network].append(gradients[name])
            allowed[network].append(torchs_own[name])
    for network, distance in off.items():
        assert statistics.mean(distance) < 1.25 * statistics.mean(allowed[network])
