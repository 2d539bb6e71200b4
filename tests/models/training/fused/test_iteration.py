"""The GPU's iteration against the plain one, in float64: any difference is an error in a formula."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.config import RecipeName, TrainingConfig
from models.training.fused.iteration import FusedIteration
from models.training.iteration import Iteration
from models.training.recipes import RECIPES
from tests.models.training.test_fast_paths import injected_dropout

BATCH = 6
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def train(iteration: Iteration, steps: int) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Take a few iterations. Returns all loss rows, and the gradients of the last iteration."""
    torch.manual_seed(5)
    images, labels, rows = torch.rand(BATCH, 1, 28, 28) * 2 - 1, torch.arange(BATCH) % 10, []
    for _ in range(steps):
        with injected_dropout():
            rows.append(iteration.discriminator_step(images, labels, *iteration.draw_latents(BATCH)))
            rows.append(iteration.generator_step(*iteration.draw_latents(iteration.recipe.generator_batches * BATCH)))
    gradients = {}
    for name, network in (("generator", iteration.generator), ("discriminator", iteration.discriminator)):
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None
            gradients[f"{name}.{key}"] = parameter.grad
    return rows, gradients


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_computes_the_same_as_the_plain_iteration(recipe: RecipeName) -> None:
    config = TrainingConfig(recipe=recipe)
    plain, fused = Iteration(config, "fp32", CPU), FusedIteration(config, "fp32", CPU)
    expected_rows, expected = train(plain, 1)
    rows, gradients = train(fused, 1)
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert (row - expected_row).abs().max() < 1e-12
    for name, gradient in gradients.items():
        assert (gradient - expected[name]).norm() < 1e-12 * expected[name].norm(), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_changes_the_same_tensors_as_the_plain_iteration(recipe: RecipeName) -> None:
    """Weights, moments and moving statistics after three iterations. Adam divides by small numbers: hence the bound."""
    config = TrainingConfig(recipe=recipe)
    plain, fused = Iteration(config, "fp32", CPU), FusedIteration(config, "fp32", CPU)
    train(plain, 3)
    train(fused, 3)
    expected = plain.tensors()
    for name, tensor in fused.tensors().items():
        assert (tensor - expected[name]).abs().max() < 1e-8, name


def test_it_computes_with_the_current_parameters() -> None:
    """A state may be loaded between two iterations."""
    config = TrainingConfig()
    first, second = (
        FusedIteration(config, "fp32", CPU),
        FusedIteration(config.model_copy(update={"seed": 2}), "fp32", CPU),
    )
    with torch.no_grad():
        for name, tensor in second.tensors().items():
            tensor.copy_(first.tensors()[name])
    for row, expected_row in zip(train(second, 1)[0], train(first, 1)[0], strict=True):
        assert torch.equal(row, expected_row)
