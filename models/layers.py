"""Layers that compute what torch's own do, and on the CPU sooner. benchmarks/README.md has the figures."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout that draws its masks in bulk on the CPU, 16 bits an element.

    torch's `bernoulli_` is serial on many processors and then takes a fifth of an iteration. Here torch's generator
    yields one seed a call, so `torch.manual_seed` still governs everything, and SFC64 expands it fifty times faster.
    The probability is p to within 2**-17.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        bits = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw(math.ceil(x.numel() / 4))
        draws = torch.from_numpy(bits.view(np.int16)[: x.numel()])  # uniform over -32768 ... 32767
        keep = (draws >= round(self.p * 65536) - 32768).to(x.dtype).div_(1 - self.p)
        return x * keep.as_strided(x.shape, torch.empty_like(x, device="meta").stride())


class UpsampleSame(nn.ConvTranspose2d):
    """Keras' `same` transposed convolution of kernel 5, stride 2: (N, C, H, W) -> (N, C', 2H, 2W).

    Keras cuts 1 left and above, 2 right and below. The bias is added after: with it inside, oneDNN computes bf16 three
    times slower.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=5, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        h = F.conv_transpose2d(x, self.weight, stride=2, padding=1)[:, :, :-1, :-1]
        return add_bias(h, self.bias)


class UpsampleValid(nn.ConvTranspose2d):
    """Keras' `valid` transposed convolution of kernel 5, stride 1: (N, C, H, W) -> (N, C', H + 4, W + 4)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=5)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            return add_bias(conv_transpose(x.to(dtype), self.weight.to(dtype)), self.bias)
        return add_bias(conv_transpose(x, self.weight), self.bias)


def add_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    assert bias is not None
    return x + bias.to(x.dtype).view(1, -1, 1, 1)


def conv_transpose(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a transposed convolution of stride 1 without padding, whose gradients are matrix products."""
    h: Tensor = ConvTransposeByGemm.apply(x, weight)  # type: ignore[no-untyped-call]
    return h


class ConvTransposeByGemm(torch.autograd.Function):
    """On a 3 x 3 input four of five taps of oneDNN's dense kernel meet nothing; gathered windows hold those that do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors  # (N, C, H, W), (C, C', k, k)
        n, c, height, width = x.shape
        k = weight.shape[-1]

        # What each input pixel spread to: one window of the output's gradient a pixel.
        windows = gradients[0].permute(0, 2, 3, 1).unfold(1, k, 1).unfold(2, k, 1)  # (N, H, W, C', k, k)
        windows = windows.permute(0, 1, 2, 4, 5, 3).reshape(n * height * width, -1)  # (NHW, kkC')

        by_input = by_weight = None
        if ctx.needs_input_grad[0]:
            taps = weight.permute(0, 2, 3, 1).reshape(c, -1)  # (C, kkC')
            by_input = (windows @ taps.t()).view(n, height, width, c).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            pixels = x.permute(0, 2, 3, 1).reshape(-1, c)  # (NHW, C)
            by_weight = (pixels.t() @ windows).view(c, k, k, -1).permute(0, 3, 1, 2)
        return by_input, by_weight
