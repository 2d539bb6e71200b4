"""Folding and unfolding against torch's own, bit for bit."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.training.fused import folding

SHAPES = [  # channels, T, K, stride, padding; the first three are those of an iteration
    (1, 28, 4, 2, 1),
    (1, 28, 6, 2, 2),
    (12, 7, 5, 1, 0),
    (3, 8, 3, 2, 0),  # the windows leave out the last row and column
]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def with_gradient(function: object, x: Tensor, *arguments: object, **options: object) -> tuple[Tensor, Tensor]:
    assert callable(function)
    x = x.detach().requires_grad_()
    y = function(x, *arguments, **options)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype))
    assert x.grad is not None
    return y.detach(), x.grad


def random_maps(channels: int, total: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, channels, total, total, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "total", "size", "stride", "padding"), SHAPES)
def test_unfold_and_its_gradient_are_torchs(
    channels: int, total: int, size: int, stride: int, padding: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    maps = random_maps(channels, total, dtype).contiguous(memory_format=layout)
    expected = with_gradient(F.unfold, maps, size, padding=padding, stride=stride)
    found = with_gradient(folding.unfold, maps, size, padding=padding, stride=stride)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "total", "size", "stride", "padding"), SHAPES)
def test_fold_and_its_gradient_are_torchs(
    channels: int, total: int, size: int, stride: int, padding: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    maps = random_maps(channels, total, dtype).contiguous(memory_format=layout)
    columns = folding.unfold(maps, size, padding=padding, stride=stride)
    expected = with_gradient(F.fold, columns, total, size, padding=padding, stride=stride)
    found = with_gradient(folding.fold, columns, total, size, padding=padding, stride=stride)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_both_can_be_differentiated_twice() -> None:
    maps = random_maps(2, 6, torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: folding.unfold(x, 4, 2, 1), maps)
    columns = folding.unfold(maps, 4, 2, 1).detach().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: folding.fold(x, 6, 4, 2, 1), columns)
