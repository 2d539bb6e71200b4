"""A generator for drawing only: what training no longer changes is computed once.

Batch normalisation is an affine map by then and goes into the layer after it. The two large transposed convolutions are
products of polynomials, computed by their values at a few points (Toom 1963, Cook 1966; for maps Lavin and Gray 2016):
49 products of matrices where the 3 -> 7 layer has 225, and 4 x 81 where 7 -> 14 has 1225. The result is within 4e-4 of
the exact one, a twentieth of a grey level.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers import BatchNorm, UpsampleSame
from models.networks import Generator

SEVEN = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)
NINE = (*SEVEN, -3 / 4, math.inf)
PHASES = (((1, 0), (3, 1)), ((0, -1), (2, 0), (4, 1)))  # of an axis, even and odd results: (tap, shift) of its inputs


class FoldedGenerator:
    """(z, y) -> image, as the generator does in inference mode. Its weights are copies."""

    def __init__(self, generator: Generator, device: torch.device) -> None:
        with torch.no_grad():
            scale_7, shift_7 = affine(generator.norm_7)
            scale_14, shift_14 = affine(generator.norm_14)
            first = first_layer(generator.upsample_7.weight)
            second = second_layer(generator.upsample_14.weight * scale_7.view(-1, 1, 1, 1))
            bias_14 = bias_map(generator.upsample_14, shift_7, 7)  # (96, 14, 14)
            bias_28 = bias_map(generator.upsample_28, shift_14, 14)  # (1, 28, 28)
            last = (generator.upsample_28.weight * scale_14.view(-1, 1, 1, 1)).flatten(1)  # (96, 25)
        self.device = device
        self.latent_size = generator.latent_size
        self.step = 1  # what lengths of batches must be multiples of
        self.embedding = place(generator.embedding.weight, device)
        self.dense = place(generator.dense.weight.t(), device), place(generator.dense.bias, device)
        self.first = Interpolation(*(place(matrix, device) for matrix in first))
        self.first_bias = place(generator.upsample_7.bias, device)
        self.second = Interpolation(*(place(matrix, device) for matrix in second))
        by_phase = bias_14.view(-1, 7, 2, 7, 2).permute(1, 3, 2, 4, 0)
        self.second_bias = place(by_phase.reshape(49, 1, -1), device)
        self.last, self.last_bias = place(last, device), place(bias_28, device)

    @torch.inference_mode()
    def __call__(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (N, 1, 28, 28) in [-1, 1] from noise (N, L) and labels (N,), on the generator's device."""
        n = len(noise)
        weight, bias = self.dense
        h = torch.addmm(bias, noise * self.embedding[labels], weight).relu_()  # (N, 9*384)
        h = h.view(n, 9, -1).transpose(0, 1).reshape(9, n, -1)
        h = self.first(h).add_(self.first_bias).relu_()  # (49, N, 192)
        h = self.second(h).add_(self.second_bias).relu_()  # (49, N, 2*2*96)
        columns = (h.view(49 * n * 4, -1) @ self.last).view(7, 7, n, 2, 2, 25)
        columns = columns.permute(2, 5, 0, 3, 1, 4).reshape(n, 25, 196)
        images = F.fold(columns, (29, 29), 5, padding=1, stride=2)[:, :, :-1, :-1]  # Keras cuts right and below
        return torch.tanh(images + self.last_bias)


def place(tensor: Tensor | None, device: torch.device) -> Tensor:
    assert tensor is not None
    return tensor.detach().to(device, torch.float32, copy=True).contiguous()


# ----------------------------------------------------------------------------
# Batch normalisation, folded into what follows it. What it adds reaches a border less often than the middle, so a
# bias becomes a map of biases.


def affine(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift (C,) of a batch normalisation in inference mode."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def bias_map(layer: UpsampleSame, shift: Tensor, size: int) -> Tensor:
    """Compute what a layer makes of `shift` (C,) at every position of its input: (C', 2 * size, 2 * size)."""
    mapped: Tensor = layer(shift.view(1, -1, 1, 1).expand(1, -1, size, size).contiguous())
    return mapped[0]


# ----------------------------------------------------------------------------
# Products of polynomials. Along an axis a map is the polynomial x(t) = sum over i of x_i t^i; a transposed convolution
# multiplies it with its kernel's. A product of degree d is known from its values at d + 1 points, infinity among them.


class Interpolation(NamedTuple):
    """result @ ((values @ x) * kernel): one matrix product for each pair of points."""

    values: Tensor  # (P, H*W)
    kernel: Tensor  # (P, C, C')
    result: Tensor  # (H'*W', P)

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (H*W, N, C) -> (H'*W', N, C')."""
        at_points = (self.values @ x.flatten(1)).view(-1, *x.shape[1:])
        products = torch.bmm(at_points, self.kernel)
        return (self.result @ products.flatten(1)).view(-1, *products.shape[1:])


def first_layer(weight: Tensor) -> Interpolation:
    """3 x 3 by a kernel of 5 x 5, weight (C, C', 5, 5): all 7 x 7 of the product."""
    values, scales = evaluation(SEVEN, 3)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).double()  # (25, C, C')
    kernel = torch.einsum("pk,kcd->pcd", both_axes(evaluation(SEVEN, 5, scaled=False)[0]), taps)
    return Interpolation(both_axes(values), kernel, both_axes(interpolation(SEVEN) * scales))


def second_layer(weight: Tensor) -> Interpolation:
    """7 x 7 by the four phases of a kernel of 5 x 5 and stride 2, which are 3 x 3: the middle 7 x 7 of each product."""
    values, scales = evaluation(NINE, 7)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).double()
    at_points = evaluation(NINE, 3, scaled=False)[0]
    phases = [at_points @ placement(phase) for phase in PHASES]
    kernels = [torch.einsum("pk,kcd->pcd", kronecker(rows, columns), taps) for rows in phases for columns in phases]
    return Interpolation(both_axes(values), torch.cat(kernels, 2), both_axes(interpolation(NINE)[1:8] * scales))


def evaluation(points: tuple[float, ...], length: int, scaled: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Make the matrix of a polynomial's values at points, its rows scaled to alike sizes: (P, length) and (P,)."""
    powers = np.arange(length)
    rows = [(powers == length - 1) * 1.0 if math.isinf(point) else float(point) ** powers for point in points]
    matrix = np.array(rows)
    scales = np.abs(matrix).sum(1) if scaled else np.ones(len(points))
    return matrix / scales[:, None], scales


def interpolation(points: tuple[float, ...]) -> np.ndarray:
    """Make the matrix of the coefficients of a polynomial from its values: (P, P)."""
    inverse: np.ndarray = np.linalg.inv(evaluation(points, len(points), scaled=False)[0])
    return inverse


def placement(phase: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Make the matrix that puts a phase's taps where their shifts want them: (3, 5)."""
    matrix = np.zeros((3, 5))
    for tap, shift in phase:
        matrix[shift + 1, tap] = 1
    return matrix


def kronecker(rows: np.ndarray, columns: np.ndarray) -> Tensor:
    return torch.from_numpy(np.kron(rows, columns))


def both_axes(matrix: np.ndarray) -> Tensor:
    return kronecker(matrix, matrix)
