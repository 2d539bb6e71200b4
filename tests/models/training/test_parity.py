"""The networks and the training step against numbers that the original Keras code computed.

The fixture's weights follow from a formula, its inputs and results are recorded; dropout is off on both sides.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.config import TrainingConfig
from models.interop.keras import DISCRIMINATOR, GENERATOR, from_keras
from models.networks.acgan import Discriminator, Generator
from models.training.fused.iteration import FusedIteration
from models.training.iteration import Iteration
from models.training.losses import Objective, discriminator_test_objective, generator_objective

pytestmark = pytest.mark.usefixtures("path")

PARITY = np.load(Path(__file__).parents[2] / "fixtures" / "keras_parity.npz")
NETWORKS = {"generator": 0, "discriminator": 1}


def keras_weights(network: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, array) in Keras' `weights` order, by the fixture's formula."""
    names, shapes = PARITY[f"names_{network}"], PARITY[f"shapes_{network}"]
    for index, (name, shape) in enumerate(zip(names, map(ast.literal_eval, shapes), strict=True)):
        random = np.random.RandomState(int(PARITY["seed"]) + 100 * NETWORKS[network] + index)
        normal = random.standard_normal(shape)
        match name.split("/")[-1]:
            case "kernel":
                receptive_field = np.prod(shape[:-2]) if len(shape) == 4 else 1
                array = normal * np.sqrt(2 / (receptive_field * (shape[-1] + shape[-2])))
            case "embeddings":
                array = normal
            case "bias":
                array = 0.02 * normal
            case "gamma":
                array = 1 + 0.1 * normal
            case "beta":
                array = 0.1 * normal
            case "moving_mean":
                array = 0.1 * np.abs(normal)
            case "moving_variance":
                array = 0.5 + random.uniform(size=shape)
        yield name.split("/")[-1], array.astype(np.float32)


def to_keras(network: nn.Module, name: str) -> list[np.ndarray]:
    """List a network's tensors in the fixture's order and Keras' layouts."""
    state = network.state_dict()
    unordered = [
        (weight.kind, state[weight.ours].cpu().numpy().transpose(np.argsort(weight.axes)))
        for weight in (GENERATOR if name == "generator" else DISCRIMINATOR)
    ]
    arrays = {(kind, array.shape): array for kind, array in unordered}
    assert len(arrays) == len(unordered)
    return [arrays[kind, array.shape] for kind, array in keras_weights(name)]


def images(name: str) -> torch.Tensor:
    return torch.from_numpy(PARITY[name]).permute(0, 3, 1, 2)


def integers(name: str) -> torch.Tensor:
    return torch.from_numpy(PARITY[name])


def losses(objective: Objective) -> list[float]:
    return objective.row().tolist()


@pytest.fixture
def generator() -> Generator:
    return from_keras(Generator(100), keras_weights("generator"))


@pytest.fixture
def discriminator() -> Discriminator:
    return from_keras(Discriminator(), keras_weights("discriminator"))


ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=ON_GPU)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=[Iteration, FusedIteration], ids=["plain", "fused"])
def iteration(
    request: pytest.FixtureRequest, device: torch.device, generator: Generator, discriminator: Discriminator
) -> Iteration:
    """An iteration of batch 20, in float32, with the fixture's weights and no dropout."""
    iteration: Iteration = request.param(TrainingConfig(batch_size=20), "fp32", device)
    iteration.generator.load_state_dict(generator.state_dict())
    iteration.discriminator.load_state_dict(discriminator.state_dict())
    iteration.discriminator.dropout.p = 0.0
    return iteration


@torch.no_grad()
def test_generator_in_inference_mode(generator: Generator) -> None:
    drawn = generator(integers("z"), integers("labels"))
    assert (drawn - images("generator_inference")).abs().max() < 1e-5


@torch.no_grad()
def test_generator_in_training_mode(generator: Generator) -> None:
    drawn = generator.train()(integers("z"), integers("labels"))
    assert (drawn - images("generator_training_mode")).abs().max() < 5e-5


@torch.no_grad()
def test_discriminator(discriminator: Discriminator) -> None:
    real_logits, class_logits = discriminator(images("images"))
    assert np.abs(real_logits.sigmoid().numpy() - PARITY["disc_real_probability"][:, 0]).max() < 1e-5
    assert np.abs(class_logits.softmax(1).numpy() - PARITY["disc_class_probability"]).max() < 1e-5


@torch.no_grad()
def test_evaluation_losses(generator: Generator, discriminator: Discriminator) -> None:
    real_logits, class_logits = discriminator(torch.cat((images("images"), images("generator_inference"))))
    classes = torch.cat((integers("image_labels"), integers("labels")))
    objective = discriminator_test_objective(real_logits, class_logits, classes, is_real=torch.arange(40) < 20)
    assert losses(objective) == pytest.approx(PARITY["evaluate_disc_losses"], abs=1e-5)

    real_logits, class_logits = discriminator(generator(integers("z_step"), integers("labels_step")))
    objective = generator_objective(real_logits, class_logits, integers("labels_step"), target=1.0)
    assert losses(objective) == pytest.approx(PARITY["evaluate_gen_losses"], abs=1e-5)


def test_training_step(iteration: Iteration, device: torch.device) -> None:
    def given(*tensors: torch.Tensor) -> list[torch.Tensor]:
        return [tensor.to(device) for tensor in tensors]

    real, fake = given(images("images"), integers("image_labels")), given(integers("z"), integers("labels"))
    row = iteration.discriminator_step(*real, *fake)
    assert row.tolist() == pytest.approx(PARITY["step_disc_losses"], abs=1e-5)

    row = iteration.generator_step(*given(integers("z_step"), integers("labels_step")))
    assert row.tolist() == pytest.approx(PARITY["step_gen_losses"], abs=2e-4)

    for name, network in (("generator", iteration.generator), ("discriminator", iteration.discriminator)):
        kinds = [kind for kind, _ in keras_weights(name)]
        for index, (kind, array) in enumerate(zip(kinds, to_keras(network, name), strict=True)):
            recorded_sum = PARITY[f"after_{name}_{index:02d}_sum"][1]
            assert np.abs(array).sum() == pytest.approx(recorded_sum, abs=2e-5 * array.size, rel=2e-3), (name, index)
            chosen = np.random.RandomState(index).randint(0, array.size, min(64, array.size))
            difference = np.abs(array.ravel()[chosen] - PARITY[f"after_{name}_{index:02d}_sample"])
            if kind.startswith("moving"):
                assert difference.max() < 1e-3, (name, index, kind)
            else:
                assert difference.mean() < 2e-5, (name, index, kind)
                assert difference.max() < 4.1e-4, (name, index, kind)
