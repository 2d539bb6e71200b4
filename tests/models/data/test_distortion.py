"""Real images are distorted a little, at random, and only some of them."""

import pytest
import torch
from torch import Tensor

from models.config import TrainingConfig
from models.data.dataset import to_unit_range
from models.data.distortion import DISTORTIONS, SHIFT, distort, warp
from models.training.iteration import Iteration
from models.training.recipes import RECIPES

CPU = torch.device("cpu")
SOME = (0.8, 0.8, 0.8, 0.8, 0.4, 0.4)


def smooth_images(n: int) -> Tensor:
    """Return blots of ink, (n, 1, 28, 28) in [-1, 1], each of another width."""
    rows, columns = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 12.5, indexing="ij")
    widths = torch.linspace(3, 6, n)[:, None, None]
    return (2 * torch.exp(-((rows / widths) ** 2) - (columns / 4) ** 2) - 1).unsqueeze(1)


@pytest.mark.parametrize("sampling", ["bilinear", "bicubic"])
def test_no_distortion_changes_no_image(sampling: str) -> None:
    images = smooth_images(5)
    same = warp(images, torch.zeros(DISTORTIONS, 5), sampling)  # type: ignore[arg-type]
    assert torch.allclose(same, images, atol=1e-5)


@pytest.mark.parametrize("sampling", ["bilinear", "bicubic"])
def test_a_shift_is_measured_in_pixels(sampling: str) -> None:
    images = smooth_images(5)
    distortions = torch.zeros(DISTORTIONS, 5)
    distortions[4], distortions[5] = 1, -0.5
    moved = warp(images, distortions, sampling)  # type: ignore[arg-type]
    assert torch.allclose(moved[:, :, 1:, :-SHIFT], images[:, :, :-1, SHIFT:], atol=1e-4)


def test_about_the_share_is_distorted_and_the_others_keep_their_bits() -> None:
    torch.manual_seed(1)
    images = smooth_images(1000)
    changed = distort(images, SOME, 0.5)
    same = (changed == images).flatten(1).all(1)
    assert 0.4 < same.float().mean() < 0.6
    difference = (changed - images).abs().flatten(1).mean(1)
    assert difference[~same].min() > 1e-4
    assert difference.max() < 0.3  # small distortions
    assert -1 <= changed.min() <= changed.max() <= 1
    torch.manual_seed(1)
    assert torch.equal(distort(images, SOME, 0.5), changed)


@pytest.mark.parametrize("recipe", RECIPES)
def test_only_recipes_that_say_so_distort_real_images(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    iteration = Iteration(TrainingConfig(recipe=recipe), "fp32", CPU)
    pixels = (smooth_images(40) * 127.5 + 127.5).round().to(torch.uint8).squeeze(1)
    seen: list[Tensor] = []
    step = iteration.discriminator_step

    def look(images: Tensor, *others: Tensor) -> Tensor:
        seen.append(images)
        return step(images, *others)

    monkeypatch.setattr(iteration, "discriminator_step", look)
    torch.manual_seed(1)
    iteration(pixels, torch.arange(40, dtype=torch.uint8) % 10)
    distorted = (seen[0] != to_unit_range(pixels)).flatten(1).any(1).float().mean()
    share = RECIPES[recipe].distorted_share
    assert 0.5 * share <= distorted <= 1.5 * share
