"""Drawn digits are distorted as training images are."""

import torch

from benchmarks.distorted_digits import TRIED, Distortion
from models.training.recipes import RECIPES


def squares(n: int) -> torch.Tensor:
    digits = torch.zeros(n, 28, 28, dtype=torch.uint8)
    digits[:, 8:20, 10:18] = 255
    return digits


def test_a_share_of_the_digits_is_distorted_and_the_seed_says_how() -> None:
    digits = squares(2500)  # more than are distorted at once
    half = Distortion(0.6, 0.3, 0.5)
    distorted = half.apply(digits, seed=1)
    assert (distorted.dtype, distorted.shape) == (torch.uint8, digits.shape)
    same = (distorted == digits).flatten(1).all(1).float().mean()
    assert 0.4 < same < 0.6
    assert torch.equal(half.apply(digits, seed=1), distorted)
    assert not torch.equal(half.apply(digits, seed=2), distorted)


def test_the_table_goes_from_no_distortion_to_that_of_the_recipe() -> None:
    digits = squares(20)
    assert str(TRIED[0]) == "none"
    assert torch.equal(TRIED[0].apply(digits, seed=1), digits)
    thorough = RECIPES["thorough"]
    assert (TRIED[-1].most, TRIED[-1].share) == (thorough.most_distortion, thorough.distorted_share)
    assert str(TRIED[-1]) == "0.8, shift 0.4, 50% of the digits"
