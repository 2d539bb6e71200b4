"""Layers equivalent to torch's own, but faster on the CPU. benchmarks/README.md has the figures.

Maps always have the shape (N, C, H, W). In memory, the results of `fft_convolution` have the layout (H, W, N, C), and
element-wise operations keep this layout.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks import fft_convolution

MANY = 64  # images in a batch from which the Fourier transforms of a kernel pay off


class Dropout(nn.Dropout):
    """Dropout that draws its masks in bulk on the CPU, 16 bits for each element.

    torch's `bernoulli_` is serial on many processors and then takes a fifth of an iteration. Here torch's generator
    yields one seed per call, so `torch.manual_seed` still determines all masks, and SFC64 expands it fifty times
    faster. The probability is p to within 2**-17.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        bits = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw(math.ceil(x.numel() / 4))
        draws = torch.from_numpy(bits.view(np.int16)[: x.numel()])  # uniform over -32768 ... 32767
        keep = torch.empty(x.numel(), dtype=x.dtype)
        torch.ge(draws, round(self.p * 65536) - 32768, out=keep).div_(1 - self.p)
        return x * keep.as_strided(x.shape, torch.empty_like(x, device="meta").stride())


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of maps in the memory layout (N, C, H, W) or (H, W, N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.permute(2, 3, 0, 1).is_contiguous():
            return super().forward(x)
        rows: Tensor = super().forward(x.permute(2, 3, 0, 1).reshape(-1, x.shape[1], 1, 1))
        return from_positions(rows.view(-1, *x.shape[:2]), x.shape[2])


class Convolution(nn.Conv2d):
    """Keras' `same` convolution of kernel 3, stride 1: (N, C, H, W) -> (N, C', H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not pays(x):
            return super().forward(x)
        x, weight = cast(x, self.weight)
        size = x.shape[2]
        plan = fft_convolution.plan(size + 1, size, size, (((0, 1), (1, 0), (2, -1)),), x.dtype)
        y = fft_convolution.convolve(positions(x), weight.permute(2, 3, 1, 0).flatten(0, 1), plan)
        return add_bias(from_positions(y[0], size), self.bias)


class UpsampleValid(nn.ConvTranspose2d):
    """Keras' `valid` transposed convolution of kernel 5, stride 1: (N, C, H, W) -> (N, C', H + 4, W + 4)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=5)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not pays(x):
            return super().forward(x)
        x, weight = cast(x, self.weight)
        size = x.shape[2]
        plan = fft_convolution.plan(size + 4, size, size + 4, (tuple((tap, tap) for tap in range(5)),), x.dtype)
        y = fft_convolution.convolve(positions(x), weight.permute(2, 3, 0, 1).flatten(0, 1), plan)
        return add_bias(from_positions(y[0], size + 4), self.bias)


class UpsampleSame(nn.ConvTranspose2d):
    """Keras' `same` transposed convolution of kernel 5, stride 2: (N, C, H, W) -> (N, C', 2H, 2W).

    Keras cuts 1 at the top and on the left, 2 at the bottom and on the right.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=5, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        size = x.shape[2]
        if not pays(x):  # bias added afterwards: with it inside, oneDNN computes bf16 three times slower
            return add_bias(F.conv_transpose2d(x, self.weight, stride=2, padding=1)[:, :, :-1, :-1], self.bias)
        x, weight = cast(x, self.weight)
        if self.out_channels == 1:
            columns = positions(x) @ weight.flatten(1)  # (H*W, N, 25)
            y = F.fold(columns.permute(1, 2, 0), (2 * size + 1, 2 * size + 1), 5, padding=1, stride=2)
            return add_bias(y[:, :, :-1, :-1], self.bias)
        plan = fft_convolution.plan(size + 1, size, size, (((1, 0), (3, 1)), ((0, -1), (2, 0), (4, 1))), x.dtype)
        phases = fft_convolution.convolve(positions(x), weight.permute(2, 3, 0, 1).flatten(0, 1), plan)
        phases = phases.view(2, 2, size, size, len(x), -1)
        y = phases.permute(2, 0, 3, 1, 4, 5).reshape(4 * size**2, len(x), -1)
        return add_bias(from_positions(y, 2 * size), self.bias)


def pays(x: Tensor) -> bool:
    return x.device.type == "cpu" and len(x) >= MANY


def cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Convert to the precision of autocast if it is enabled, as torch's own convolutions do."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype("cpu")) for tensor in tensors)


def positions(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (H*W, N, C), without a copy if that is its layout in memory."""
    return x.permute(2, 3, 0, 1).flatten(0, 1)


def from_positions(x: Tensor, size: int) -> Tensor:
    """(H*W, N, C) -> (N, C, H, W), as a view."""
    return x.view(size, size, *x.shape[1:]).permute(2, 3, 0, 1)


def add_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    assert bias is not None
    return x + bias.to(x.dtype).view(1, -1, 1, 1)
