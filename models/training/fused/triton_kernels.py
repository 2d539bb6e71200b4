"""Triton kernels of the fused iteration. Their reference, in torch operations, is `kernels.TorchKernels`.

Each replaces several kernels whose time is memory traffic. Triton compiles them at the first launch, which needs a C
compiler on the host. With TRITON_INTERPRET=1 they run on a CPU.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

Launch = TypeVar("Launch", bound=Callable[..., Any])


def on_its_device(launch: Launch) -> Launch:
    """Make the device of the first tensor the current device, because Triton launches on the current one."""

    @functools.wraps(launch)
    def launched(first: Tensor, *others: Any, **options: Any) -> Any:
        with torch.cuda.device_of(first):
            return launch(first, *others, **options)

    return cast(Launch, launched)


BLOCK = 1024  # elements of one program
LOGITS = 2048  # scored together: rows times columns, both powers of two
FEWEST_COLUMNS = 32


# ----------------------------------------------------------------------------
# Bias, leaky ReLU and dropout of a convolution's output.


@triton.jit
def _activate(x, bias, bits, y, n, channels, slope, scale, threshold, dropout: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    value = tl.load(x + i, mask=inside).to(tl.float32) + tl.load(bias + i % channels, mask=inside).to(tl.float32)
    value = tl.where(value > 0, value, value * slope)
    if dropout:
        keep = tl.load(bits + i, mask=inside).to(tl.int32) >= threshold
        value = tl.where(keep, value * scale, 0.0)
    tl.store(y + i, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _activate_backward(gradient, y, result, n, slope, scale, dropout: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    value = tl.load(y + i, mask=inside).to(tl.float32)
    factor = tl.where(value > 0, scale, slope * scale)
    if dropout:  # dropped elements are exactly 0
        factor = tl.where(value == 0, 0.0, factor)
    product = tl.load(gradient + i, mask=inside).to(tl.float32) * factor
    tl.store(result + i, product.to(result.dtype.element_ty), mask=inside)


@on_its_device
def activate(x: Tensor, bias: Tensor, bits: Tensor | None, slope: float, scale: float, threshold: int) -> Tensor:
    """See `kernels.TorchKernels.activate`; x must be channels last."""
    y, n = torch.empty_like(x), x.numel()
    random = x if bits is None else bits
    _activate[(triton.cdiv(n, BLOCK),)](
        x, bias, random, y, n, x.shape[1], slope, scale, threshold, dropout=bits is not None, block=BLOCK
    )
    return y


@on_its_device
def activate_backward(gradient: Tensor, y: Tensor, slope: float, scale: float, dropout: bool) -> Tensor:
    """See `kernels.TorchKernels.activate_backward`; both tensors must have the same layout."""
    result, n = torch.empty_like(y), y.numel()
    _activate_backward[(triton.cdiv(n, BLOCK),)](gradient, y, result, n, slope, scale, dropout=dropout, block=BLOCK)
    return result


# ----------------------------------------------------------------------------
# Adding up the products of a transposed convolution of stride 1, and the reverse. A map has S x S positions, the kernel
# K x K taps, the result T x T positions with T = S + K - 1.


@triton.jit
def _fold(columns, y, n, channels, size: tl.constexpr, taps: tl.constexpr, block: tl.constexpr):
    total: tl.constexpr = size + taps - 1
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    channel, position = i % channels, i // channels
    across, down, image = position % total, (position // total) % total, position // (total * total)
    value = tl.zeros((block,), tl.float32)
    for row in tl.static_range(size):
        for column in tl.static_range(size):
            ky, kx = down - row, across - column
            within = inside & (ky >= 0) & (ky < taps) & (kx >= 0) & (kx < taps)
            source = ((image * size * size + row * size + column) * taps * taps + ky * taps + kx) * channels + channel
            value += tl.load(columns + source, mask=within, other=0.0).to(tl.float32)
    tl.store(y + i, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _unfold(y, columns, n, channels, size: tl.constexpr, taps: tl.constexpr, block: tl.constexpr):
    total: tl.constexpr = size + taps - 1
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    channel, tap, place = i % channels, (i // channels) % (taps * taps), i // (channels * taps * taps)
    column, row, image = place % size, (place // size) % size, place // (size * size)
    down, across = row + tap // taps, column + tap % taps
    source = ((image * total + down) * total + across) * channels + channel
    tl.store(columns + i, tl.load(y + source, mask=inside), mask=inside)


@on_its_device
def fold(columns: Tensor, size: int, taps: int) -> Tensor:
    """See `kernels.TorchKernels.fold`; columns must be contiguous. The result is channels last."""
    images, channels, total = len(columns), columns.shape[-1], size + taps - 1
    y = columns.new_empty(images, total, total, channels)
    n = y.numel()
    _fold[(triton.cdiv(n, BLOCK),)](columns, y, n, channels, size=size, taps=taps, block=BLOCK)
    return y.permute(0, 3, 1, 2)


@on_its_device
def unfold(y: Tensor, size: int, taps: int) -> Tensor:
    """The gradient of `fold`: y (N, C, T, T), channels last, becomes columns (N, S*S, K*K, C)."""
    images, channels = y.shape[:2]
    columns = y.new_empty(images, size**2, taps**2, channels)
    n = columns.numel()
    _unfold[(triton.cdiv(n, BLOCK),)](y, columns, n, channels, size=size, taps=taps, block=BLOCK)
    return columns


# ----------------------------------------------------------------------------
# The objectives with their gradients (the equations are in losses.py), in one program: a few hundred rows of
# 11 or 21 logits for ten classes.


@triton.jit
def _one_hot(labels, row, column, shift, classes, mask):
    """Rows of one-hot labels (*, K), their first class in the column `shift`."""
    k = column - shift
    return tl.load(labels + row * classes + k, mask=mask & (k >= 0) & (k < classes), other=0.0)


@triton.jit
def _cross_entropy(logits, y, is_class):
    """Sum of -y log q over each row, and q - y; columns that are not classes are ignored."""
    shifted = tl.where(is_class, logits, -float("inf"))
    shifted = tl.where(is_class, logits - tl.max(shifted, axis=1)[:, None], 0.0)
    exponential = tl.where(is_class, tl.exp(shifted), 0.0)
    total = tl.maximum(tl.sum(exponential, axis=1)[:, None], 1e-37)  # rows beyond the last one have no class
    loss = -tl.sum(tl.where(is_class, y * (shifted - tl.log(total)), 0.0), axis=1)
    return loss, tl.where(is_class, exponential / total - y, 0.0)


@triton.jit
def _binary_cross_entropy(z, target):
    """The loss of each logit against its target, and the sigmoid minus the target."""
    small = tl.exp(-tl.abs(z))
    loss = tl.maximum(z, 0.0) - z * target + tl.log(1.0 + small)
    sigmoid = tl.where(z >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
    return loss, sigmoid - target


@triton.jit
def _store_row(row, generation, auxiliary):
    """Store loss, generation and auxiliary."""
    tl.store(row, generation + auxiliary)
    tl.store(row + 1, generation)
    tl.store(row + 2, auxiliary)


@triton.jit
def _score_discriminator(
    logits, real, fake, row_out, gradient, batch, classes, width, rows, soft_one, slope_weight,
    adc: tl.constexpr, block: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, columns)[None, :]
    generation = tl.zeros((block,), tl.float32)
    auxiliary = tl.zeros((block,), tl.float32)
    for start in range(0, rows, block):
        r = start + tl.arange(0, block)
        row = r[:, None]
        here = (row < rows) & (column < width)
        x = tl.load(logits + row * width + column, mask=here, other=0.0)
        is_real, is_fake = row < batch, (row >= batch) & (row < 2 * batch)
        z = tl.sum(tl.where(column == 0, x, 0.0), axis=1)
        loss, slope = _binary_cross_entropy(z, tl.where(r < batch, soft_one, 0.0))
        generation += tl.where(r < 2 * batch, loss, 0.0)
        by_z = tl.where(r < 2 * batch, slope / (2 * batch), 0.0)[:, None]

        y = _one_hot(real, row, column, 1, classes, is_real)
        if adc:
            y += _one_hot(fake, row - batch, column, 1 + classes, classes, is_fake)
            classified = is_real | is_fake
        else:
            classified = is_real
        loss, by_class = _cross_entropy(x, y, here & (column >= 1))
        auxiliary += tl.where(tl.sum(classified.to(tl.int32), axis=1) > 0, loss, 0.0)
        by_x = tl.where(column == 0, by_z, tl.where(classified, by_class / batch, 0.0))

        if adc:  # the penalty pulls the logits of a real image and its neighbour together
            paired = is_real | (row >= 2 * batch)
            partner = tl.where(is_real, row + 2 * batch, row - 2 * batch)
            difference = tl.where(
                here & paired, x - tl.load(logits + partner * width + column, mask=here & paired, other=0.0), 0.0
            )
            owner = tl.where(is_real, row, row - 2 * batch)
            signs = _one_hot(real, owner, column, 1, classes, here & paired)
            signs -= _one_hot(real, owner, column, 1 + classes, classes, here & paired)
            log_odds = tl.sum(difference * signs, axis=1)[:, None]
            by_x += slope_weight * tl.where(column == 0, difference, log_odds * signs)
        tl.store(gradient + row * width + column, by_x, mask=(row < rows) & (column < width))
    _store_row(row_out, tl.sum(generation, axis=0) / (2 * batch), tl.sum(auxiliary, axis=0) / batch)


@triton.jit
def _score_generator(
    logits, labels, row_out, gradient, classes, width, rows, target,
    adc: tl.constexpr, block: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, columns)[None, :]
    generation = tl.zeros((block,), tl.float32)
    auxiliary = tl.zeros((block,), tl.float32)
    for start in range(0, rows, block):
        r = start + tl.arange(0, block)
        row = r[:, None]
        here = (row < rows) & (column < width)
        x = tl.load(logits + row * width + column, mask=here, other=0.0)
        z = tl.sum(tl.where(column == 0, x, 0.0), axis=1)
        loss, slope = _binary_cross_entropy(z, target)
        generation += tl.where(r < rows, loss, 0.0)
        if adc:
            by_class = _one_hot(labels, row, column, 1 + classes, classes, here)
            by_class -= _one_hot(labels, row, column, 1, classes, here)
            loss = tl.sum(x * by_class, axis=1)
        else:
            loss, by_class = _cross_entropy(x, _one_hot(labels, row, column, 1, classes, here), here & (column >= 1))
        auxiliary += tl.where(r < rows, loss, 0.0)
        by_x = tl.where(column == 0, slope[:, None], by_class) / rows
        tl.store(gradient + row * width + column, by_x, mask=here)
    _store_row(row_out, tl.sum(generation, axis=0) / rows, tl.sum(auxiliary, axis=0) / rows)


def block_shape(width: int) -> dict[str, int]:
    """Return the rows and columns of logits that are scored together, for rows of `width` logits."""
    columns = max(FEWEST_COLUMNS, triton.next_power_of_2(width))
    return {"block": max(LOGITS // columns, 1), "columns": columns}


@on_its_device
def score_discriminator(
    logits: Tensor, real: Tensor, fake: Tensor, soft_one: float, slope_weight: float, adc: bool
) -> tuple[Tensor, Tensor]:
    row, gradient = logits.new_empty(3), torch.empty_like(logits)
    (batch, classes), (rows, width) = real.shape, logits.shape
    _score_discriminator[(1,)](
        logits, real, fake, row, gradient, batch, classes, width, rows, soft_one, slope_weight,
        adc=adc, **block_shape(width),
    )  # fmt: skip
    return row, gradient


@on_its_device
def score_generator(logits: Tensor, labels: Tensor, target: float, adc: bool) -> tuple[Tensor, Tensor]:
    row, gradient = logits.new_empty(3), torch.empty_like(logits)
    rows, width = logits.shape
    classes = labels.shape[1]
    _score_generator[(1,)](
        logits, labels, row, gradient, classes, width, rows, target, adc=adc, **block_shape(width)
    )  # fmt: skip
    return row, gradient
