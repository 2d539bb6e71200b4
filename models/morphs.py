"""Morphs: one digit turning into another, by a generator whose classes are the stations on the way.

Between two labels the rows of the embedding are interpolated: in a straight line, for nothing is known of how they are
spread. Between two latents the way is one on which every station is distributed as latents are. Where z is uniform in
[-1, 1), g with (1 + z) / 2 = Phi(g) is normal, and so is cos(a) g + sin(a) g' for any angle a: that is a spherical
interpolation (White 2016, arXiv 1609.04468) where spheres are what latents lie on, mapped back by Phi. A straight line
would lead through latents of half the variance, which no generator was trained to draw from.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.drawing import latents
from models.folding import FoldedGenerator


@dataclass(frozen=True, slots=True)
class Ends:
    """Two addresses: labels and seeds at the beginning and the end, and one index for both."""

    labels: tuple[int, int]
    seeds: tuple[int, int]
    index: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Stations:
    """What is drawn on the way, in order: a latent each, (N, L), and classes 0 ... N - 1."""

    noise: Tensor

    @property
    def digits(self) -> int:
        return len(self.noise)

    def cut(self, start: int, stop: int, _latent_size: int) -> tuple[Tensor, Tensor]:
        return self.noise[start:stop], torch.arange(start, stop)


def morph(generator: FoldedGenerator, ends: Ends, steps: int) -> tuple[FoldedGenerator, Stations]:
    """Lay out a way of at least two steps. Its first and last digit are those of the addresses, to the last bit.

    The generator that is returned shares its weights with the one given, but for the embedding.
    """
    there = copy.copy(generator)
    there.embedding = straight(generator.embedding[ends.labels[0]], generator.embedding[ends.labels[1]], steps)
    first, last = (latents(seed, ends.index, 1, generator.latent_size)[0] for seed in ends.seeds)
    return there, Stations(spherical(first, last, steps))


def straight(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Interpolate two vectors (L,) in a line: (steps, L)."""
    way = torch.linspace(0, 1, steps, device=first.device)[:, None]
    rows = first * (1 - way) + last * way
    rows[0], rows[-1] = first, last
    return rows


def spherical(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Interpolate two latents (L,), uniform in [-1, 1), so that each of (steps, L) is distributed as they are."""
    if torch.equal(first, last):
        return first.repeat(steps, 1)
    angle = torch.linspace(0, math.pi / 2, steps, dtype=torch.float64)[:, None]
    normal = torch.cos(angle) * to_normal(first) + torch.sin(angle) * to_normal(last)
    between: Tensor = (2 * torch.special.ndtr(normal) - 1).float()
    between[0], between[-1] = first, last
    return between


def to_normal(latent: Tensor) -> Tensor:
    """Map what is uniform in [-1, 1) to what is normal, finite everywhere."""
    smallest = 2.0**-25  # half the distance of two latents' values, as a probability
    normal: Tensor = torch.special.ndtri(((latent.double() + 1) / 2).clamp(smallest, 1 - smallest))
    return normal
