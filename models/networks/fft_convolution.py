"""Convolutions of small maps by Fourier transform: the same result with a third of the multiplications.

A convolution over positions is a product over frequencies. A transform of 8 x 8 holds a 7 x 7 map and its border. For
real numbers it has 4 real frequencies and 30 pairs of complex ones, and a complex product takes three real ones
(Gauss). This gives 94 products of (N, C) by (C, C') matrices; a direct convolution of 7 x 7 by a kernel of 3 x 3 takes
441. The transforms are products with small constant matrices. In float32 the result is nearer to the exact one than
that of a direct convolution.

Maps are (H*W, N, C) here, position first, so that every step is one matrix product without copying.
"""

import itertools
import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Phase = tuple[tuple[int, int], ...]  # along one axis, pairs (tap, shift): the tap moves its input by the shift


class Plan(NamedTuple):
    """Matrices that compute a convolution with P products per map: result @ ((image @ x) * (kernel @ w)).

    A kernel may have several phases, each with a separate result: a transposed convolution of stride 2 has four.
    """

    image: Tensor  # (P, H*W)
    kernel: Tensor  # (phases*P, k*k)
    result: Tensor  # (H'*W', P)


@cache
def plan(length: int, size: int, result_size: int, phases: tuple[Phase, ...], dtype: torch.dtype) -> Plan:
    """Make the plan of y[j] = sum over (tap, shift) of w[tap] x[j - shift], along both axes.

    Args:
        length: points of the transform along an axis, enough that wrap-around does not reach the result.
        size: of the input map, which is square.
        result_size: of each phase of the result.
        phases: along one axis; each pair of them is a phase of the plan.
        dtype: of the matrices. They are computed in float64.
    """
    half = [(u, v) for u in range(length) for v in range(length) if (u, v) <= (-u % length, -v % length)]
    frequencies = np.array(half)  # (F, 2); the other half are their conjugates
    real = (frequencies == -frequencies % length).all(1)  # these are their own conjugates

    def waves(positions: np.ndarray) -> np.ndarray:
        turns: np.ndarray = frequencies @ positions.T / length
        return np.exp(-2j * math.pi * turns)

    x = waves(grid(size))  # (F, H*W)
    y = waves(grid(result_size)).conj() / length**2  # (F, H'*W')
    y[~real] *= 2  # for the conjugates
    taps = 1 + max(tap for phase in phases for tap, _ in phase)
    kernels = np.zeros((len(phases) ** 2, len(frequencies), taps, taps), complex)
    for of_pair, (rows, columns) in zip(kernels, itertools.product(phases, phases), strict=True):
        for (down, by), (across, beside) in itertools.product(rows, columns):
            of_pair[:, down, across] = waves(np.array([by, beside]))
    w = kernels.reshape(*kernels.shape[:2], taps**2)

    # Gauss: with a = (xr + xi) wr, b = xr (wi - wr), c = xi (wr + wi) the product is (a - c) + (a + b) i.
    x, own_x = x[~real], x[real].real
    w, own_w = w[:, ~real], w[:, real].real
    y, own_y = y[~real], y[real].real
    image = np.concatenate((own_x, x.real + x.imag, x.real, x.imag))
    kernel = np.concatenate((own_w, w.real, w.imag - w.real, w.real + w.imag), axis=1)
    result = np.concatenate((own_y, y.real - y.imag, -y.imag, -y.real)).T
    return Plan(*(torch.tensor(matrix, dtype=dtype) for matrix in (image, kernel.reshape(-1, taps**2), result)))


def grid(size: int) -> np.ndarray:
    """List the positions of a square map, row by row: (size*size, 2)."""
    return np.array(list(itertools.product(range(size), repeat=2)))


# ----------------------------------------------------------------------------
# Applying a plan.


def convolve(x: Tensor, w: Tensor, plan: Plan) -> Tensor:
    """Apply a plan to maps (H*W, N, C) and a kernel (k*k, C, C'). Returns (phases, H'*W', N, C')."""
    y: Tensor = Bilinear.apply(x, w, plan)  # type: ignore[no-untyped-call]
    return y


class Bilinear(torch.autograd.Function):
    """Applies a plan. It is linear in both arguments, so the gradients use the same matrices, transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, plan: Plan) -> Tensor:
        products, (_, n, c), features = len(plan.image), x.shape, w.shape[2]
        x_hat = (plan.image @ x.flatten(1)).view(products, n, c)
        w_hat = (plan.kernel @ w.flatten(1)).view(-1, products, c, features)
        y_hat = x.new_empty(len(w_hat), products, n, features)
        for phase, product in zip(w_hat, y_hat, strict=True):
            torch.bmm(x_hat, phase, out=product)
        ctx.save_for_backward(x_hat, w_hat)
        ctx.plan = plan
        return (plan.result @ y_hat.flatten(2)).view(len(w_hat), -1, n, features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x_hat, w_hat), plan = ctx.saved_tensors, ctx.plan
        y = gradients[0]  # (phases, H'*W', N, C')
        y_hat = (plan.result.t() @ y.flatten(2)).view(*w_hat.shape[:2], *y.shape[2:])
        by_x = by_w = None
        if ctx.needs_input_grad[0]:
            sums = torch.bmm(y_hat[0], w_hat[0].mT)
            for phase, product in zip(w_hat[1:], y_hat[1:], strict=True):
                sums.baddbmm_(product, phase.mT)
            by_x = (plan.image.t() @ sums.flatten(1)).view(-1, *x_hat.shape[1:])
        if ctx.needs_input_grad[1]:
            x_hat, products = x_hat.mT.contiguous(), torch.empty_like(w_hat)
            for phase, product in zip(y_hat, products, strict=True):
                torch.bmm(x_hat, phase, out=product)
            by_w = (plan.kernel.t() @ products.view(-1, w_hat[0, 0].numel())).view(-1, *w_hat.shape[2:])
        return by_x, by_w, None
