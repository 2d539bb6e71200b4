"""FFT convolutions against torch's own, in all the shapes of the networks and a few others."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks import fft_convolution

IDENTITY = tuple((tap, tap) for tap in range(5))
CENTRED = ((0, 1), (1, 0), (2, -1))
DOUBLING = (((1, 0), (3, 1)), ((0, -1), (2, 0), (4, 1)))

BOUNDS = [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)]


def by_position(maps: Tensor) -> Tensor:
    return maps.permute(2, 3, 0, 1).flatten(0, 1)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize(("dtype", "bound"), BOUNDS)
@pytest.mark.parametrize("kind", ["valid", "same", "convolution"])
@pytest.mark.parametrize("size", [3, 7, 8])
def test_results_and_gradients_equal_torchs(kind: str, size: int, dtype: torch.dtype, bound: float) -> None:
    random = torch.Generator().manual_seed(size)
    x = torch.randn(5, 6, size, size, dtype=torch.float64, generator=random).to(dtype).requires_grad_()
    weight = torch.randn(6, 7, *([3] if kind == "convolution" else [5]) * 2, dtype=torch.float64, generator=random)
    weight = weight.to(dtype).requires_grad_()
    exact_x, exact_weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()

    if kind == "valid":
        plan = fft_convolution.plan(size + 4, size, size + 4, (IDENTITY,), dtype)
        exact = F.conv_transpose2d(exact_x, exact_weight)
    elif kind == "same":
        plan = fft_convolution.plan(size + 1, size, size, DOUBLING, dtype)
        exact = F.conv_transpose2d(exact_x, exact_weight, stride=2, padding=1)[:, :, :-1, :-1]
    else:
        plan = fft_convolution.plan(size + 1, size, size, (CENTRED,), dtype)
        exact = F.conv2d(exact_x, exact_weight.transpose(0, 1), padding=1)

    ours = fft_convolution.convolve(by_position(x), by_position(weight), plan)
    if kind == "same":
        ours = ours.view(2, 2, size, size, 5, 7).permute(4, 5, 2, 0, 3, 1).reshape(exact.shape)
    else:
        ours = ours.view(*exact.shape[2:], 5, 7).permute(2, 3, 0, 1)
    assert relative(ours.detach(), exact.detach()) < bound

    gradient = torch.randn(exact.shape, dtype=torch.float64, generator=random)
    for mine, torchs in zip(
        torch.autograd.grad(ours, (x, weight), gradient.to(dtype)),
        torch.autograd.grad(exact, (exact_x, exact_weight), gradient.to(dtype).double()),
        strict=True,
    ):
        assert mine.dtype == dtype
        assert relative(mine, torchs) < bound


def test_a_map_of_7_by_7_takes_94_products() -> None:
    plan = fft_convolution.plan(8, 7, 7, (CENTRED,), torch.float32)
    assert plan.image.shape == (94, 49)
    assert plan.kernel.shape == (94, 9)
    assert plan.result.shape == (49, 94)
    assert len(fft_convolution.plan(8, 7, 7, DOUBLING, torch.float32).kernel) == 4 * 94
    assert len(fft_convolution.plan(7, 3, 7, (IDENTITY,), torch.float32).image) == 73
