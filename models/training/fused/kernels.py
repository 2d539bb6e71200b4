"""Kernels of the fused iteration: Triton's on a GPU, and torch operations as reference and fallback."""

import logging
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import NUM_CLASSES
from models.training.fused import folding, losses
from models.training.fused.losses import Score
from models.training.losses import NEARBY, SOFT_ONE

logger = logging.getLogger(__name__)


class Kernels(Protocol):
    def activate(self, x: Tensor, bias: Tensor, bits: Tensor | None, slope: float, p: float) -> Tensor:
        """Add a bias, apply a leaky ReLU, and drop elements with probability p, to within 2**-17.

        Args:
            x: (N, C, H, W).
            bias: (C,).
            bits: random int16 of any shape, one for each element of x in the order (N, H, W, C). If None, no element
                is dropped.
            slope: of the leaky ReLU below zero.
            p: elements that are kept are divided by 1 - p.
        """

    def fold(self, columns: Tensor, size: int, taps: int) -> Tensor:
        """Add up the products of a transposed convolution of stride 1, each at its position in the result.

        Args:
            columns: (N, S*S, K*K, C): for each position of a map and each tap of a kernel.
            size: S.
            taps: K.

        Returns:
            (N, C, T, T) with T = S + K - 1.
        """

    def score_discriminator(
        self, logits: Tensor, real: Tensor, fake: Tensor, gp_weight: float, adc: bool
    ) -> Score: ...  # as in losses.py

    def score_generator(self, logits: Tensor, labels: Tensor, target: float, adc: bool) -> Score: ...


def select_kernels(device: torch.device, dtype: torch.dtype) -> Kernels:
    """Return Triton's kernels if the device has a GPU and they compile. Otherwise log the reason and return torch's."""
    if device.type != "cuda":
        return TorchKernels()
    try:
        x, one_hot = torch.zeros(1, 32, 2, 2, dtype=dtype, device=device), torch.zeros(2, NUM_CLASSES, device=device)
        TritonKernels().activate(x, x.new_zeros(32), None, 0.2, 0.0)
        TritonKernels().score_generator(torch.zeros(2, 1 + NUM_CLASSES, device=device), one_hot, 1.0, adc=False)
    except Exception as error:  # a missing Triton or C compiler or an unsupported GPU must not stop a run
        logger.warning("Triton kernels are unavailable; training uses more and slower kernels: %s", error)
        return TorchKernels()
    return TritonKernels()


def threshold_of(p: float) -> int:
    """Return the threshold: elements whose 16 random bits, as a signed integer, are below it are dropped."""
    return round(p * 65536) - 32768


class TorchKernels:
    """Reference implementation in torch operations."""

    def activate(self, x: Tensor, bias: Tensor, bits: Tensor | None, slope: float, p: float) -> Tensor:
        activated = F.leaky_relu(x + bias.view(1, -1, 1, 1), slope)
        if bits is None:
            return activated
        n, channels, height, width = x.shape
        keep = (bits >= threshold_of(p)).view(n, height, width, channels).permute(0, 3, 1, 2)
        return activated * keep.to(x.dtype).div_(1 - p)

    def fold(self, columns: Tensor, size: int, taps: int) -> Tensor:
        rows = columns.permute(0, 3, 2, 1).flatten(1, 2)  # (N, C*K*K, S*S)
        return folding.fold(rows, size + taps - 1, taps)

    score_discriminator = staticmethod(losses.score_discriminator)
    score_generator = staticmethod(losses.score_generator)


class TritonKernels:
    def activate(self, x: Tensor, bias: Tensor, bits: Tensor | None, slope: float, p: float) -> Tensor:
        y: Tensor = Activation.apply(x, bias, bits, slope, p)  # type: ignore[no-untyped-call]
        return y

    def fold(self, columns: Tensor, size: int, taps: int) -> Tensor:
        y: Tensor = Fold.apply(columns, size, taps)  # type: ignore[no-untyped-call]
        return y

    def score_discriminator(self, logits: Tensor, real: Tensor, fake: Tensor, gp_weight: float, adc: bool) -> Score:
        slope_weight = gp_weight / (len(real) * NEARBY**2)
        return Score(*torch.ops.acgan.score_discriminator(logits, real, fake, SOFT_ONE, slope_weight, adc))

    def score_generator(self, logits: Tensor, labels: Tensor, target: float, adc: bool) -> Score:
        return Score(*torch.ops.acgan.score_generator(logits, labels, target, adc))


class Activation(torch.autograd.Function):
    """Bias, leaky ReLU, dropout. The result gives the derivative: its sign is the sum's, and 0 marks a dropped one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, bits: Tensor | None, slope: float, p: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        y: Tensor = torch.ops.acgan.activate(x, bias, bits, slope, 1 / (1 - p), threshold_of(p))
        ctx.save_for_backward(y)
        ctx.options = slope, 1 / (1 - p), bits is not None
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        by_x = torch.ops.acgan.activate_backward(gradient, y, *ctx.options)
        by_bias = by_x.sum((0, 2, 3)) if ctx.needs_input_grad[1] else None
        return by_x, by_bias, None, None, None


class Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, columns: Tensor, size: int, taps: int) -> Tensor:
        ctx.sizes = size, taps
        y: Tensor = torch.ops.acgan.fold(columns.contiguous(), size, taps)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        return torch.ops.acgan.unfold(gradient, *ctx.sizes), None, None


# ----------------------------------------------------------------------------
# Custom operators give torch the shapes of results without running them. The first one that runs imports Triton.


@torch.library.custom_op("acgan::activate", mutates_args=())
def _activate(x: Tensor, bias: Tensor, bits: Tensor | None, slope: float, scale: float, threshold: int) -> Tensor:
    from models.training.fused import triton_kernels

    return triton_kernels.activate(x, bias, bits, slope, scale, threshold)


@torch.library.custom_op("acgan::activate_backward", mutates_args=())
def _activate_backward(gradient: Tensor, y: Tensor, slope: float, scale: float, dropout: bool) -> Tensor:
    from models.training.fused import triton_kernels

    return triton_kernels.activate_backward(gradient, y, slope, scale, dropout)


@torch.library.custom_op("acgan::fold", mutates_args=())
def _fold(columns: Tensor, size: int, taps: int) -> Tensor:
    from models.training.fused import triton_kernels

    return triton_kernels.fold(columns, size, taps)


@torch.library.custom_op("acgan::unfold", mutates_args=())
def _unfold(y: Tensor, size: int, taps: int) -> Tensor:
    from models.training.fused import triton_kernels

    return triton_kernels.unfold(y, size, taps)


@torch.library.custom_op("acgan::score_discriminator", mutates_args=())
def _score_discriminator(
    logits: Tensor, real: Tensor, fake: Tensor, soft_one: float, slope_weight: float, adc: bool
) -> tuple[Tensor, Tensor]:
    from models.training.fused import triton_kernels

    return triton_kernels.score_discriminator(logits, real, fake, soft_one, slope_weight, adc)


@torch.library.custom_op("acgan::score_generator", mutates_args=())
def _score_generator(logits: Tensor, labels: Tensor, target: float, adc: bool) -> tuple[Tensor, Tensor]:
    from models.training.fused import triton_kernels

    return triton_kernels.score_generator(logits, labels, target, adc)


@_activate.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


@_activate_backward.register_fake
def _(gradient: Tensor, y: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(y)


@_fold.register_fake
def _(columns: Tensor, size: int, taps: int) -> Tensor:
    total = size + taps - 1
    return columns.new_empty(len(columns), total, total, columns.shape[-1]).permute(0, 3, 1, 2)


@_unfold.register_fake
def _(y: Tensor, size: int, taps: int) -> Tensor:
    return y.new_empty(len(y), size**2, taps**2, y.shape[1])


@_score_discriminator.register_fake
@_score_generator.register_fake
def _(logits: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return logits.new_empty(3), torch.empty_like(logits)
