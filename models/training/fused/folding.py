"""torch's `unfold` and `fold`, with the same results and gradients, from one launch for all images of a batch.

On a GPU torch's `unfold`, which is also the gradient of its `fold`, launches a kernel for each image.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def unfold(maps: Tensor, size: int, stride: int = 1, padding: int = 0) -> Tensor:
    """Cut square maps into overlapping windows.

    Args:
        maps: (N, C, T, T).
        size: K, of a window.
        stride: of the windows.
        padding: zeros on each side of a map.

    Returns:
        (N, C*K*K, S*S) with S windows along an axis, as a view of contiguous (N, S*S, C*K*K).
    """
    columns: Tensor = Unfold.apply(maps, size, stride, padding)  # type: ignore[no-untyped-call]
    return columns


def fold(columns: Tensor, total: int, size: int, stride: int = 1, padding: int = 0) -> Tensor:
    """Add up overlapping windows (N, C*K*K, S*S), each at its position in maps (N, C, T, T), where T is `total`."""
    maps: Tensor = Fold.apply(columns, total, size, stride, padding)  # type: ignore[no-untyped-call]
    return maps


class Unfold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: int, stride: int, padding: int) -> Tensor:
        ctx.sizes = maps.shape[-1], size, stride, padding
        windows = F.pad(maps, (padding,) * 4).unfold(2, size, stride).unfold(3, size, stride)  # (N, C, S, S, K, K)
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return fold(gradients[0], *ctx.sizes), None, None, None


class Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, columns: Tensor, total: int, size: int, stride: int, padding: int) -> Tensor:
        ctx.sizes = size, stride, padding
        return F.fold(columns, total, size, padding=padding, stride=stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return unfold(gradients[0], *ctx.sizes), None, None, None, None
