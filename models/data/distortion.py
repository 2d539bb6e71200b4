"""Small affine distortions of images: rotation, scale, slant and shift."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

DISTORTIONS = 6  # numbers that describe how one image is distorted
ANGLE, SCALE, SLANT, SHIFT = math.radians(15), 0.15, 0.15, 2  # at most, with numbers in [-1, 1]; SHIFT is in pixels


def warp(images: Tensor, distortions: Tensor, sampling: Literal["bilinear", "bicubic"] = "bilinear") -> Tensor:
    """Rotate, scale, slant and shift images (n, 1, 28, 28) in [-1, 1]. With "bicubic", strokes stay sharper.

    The distortions (6, n) are in [-1, 1]: angle, scale across and down, slant, shift across and down, each as a
    fraction of its maximum. Pixels from outside an image are background.
    """
    angle, scale_x, scale_y, slant, x, y = distortions
    angle, slant = angle * ANGLE, slant * SLANT
    cos, sin = torch.cos(angle), torch.sin(angle)
    scale_x, scale_y = 1 + SCALE * scale_x, 1 + SCALE * scale_y
    half = images.shape[-1] / 2 / SHIFT  # affine_grid counts half the size of an image as 1
    first = torch.stack((scale_x * cos, scale_y * (slant * cos - sin), x / half), 1)
    second = torch.stack((scale_x * sin, scale_y * (slant * sin + cos), y / half), 1)
    grid = F.affine_grid(torch.stack((first, second), 1), list(images.shape), align_corners=False)
    warped = F.grid_sample(images + 1, grid, sampling, align_corners=False) - 1
    return warped.clamp(-1, 1) if sampling == "bicubic" else warped


@torch.no_grad()
def distort(images: Tensor, most: Sequence[float], share: float) -> Tensor:
    """Warp about this share of images (n, 1, 28, 28) in [-1, 1] at random; the others stay as they are.

    `most` has the largest value of each of the six distortions, from 0 to 1. The random numbers are those of torch's
    default generator, drawn on the images' device.
    """
    distortions = [torch.empty(len(images), device=images.device).uniform_(-each, each) for each in most]
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < share
    return torch.where(chosen, warp(images, torch.stack(distortions), "bicubic"), images)
