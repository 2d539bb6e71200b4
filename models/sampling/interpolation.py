"""Morphs: interpolations from one digit to another. The steps are the classes of a copy of the generator.

Between two labels, the rows of the embedding are interpolated linearly, since their distribution is unknown. Between
two latents, every step has the distribution of latents. If z is uniform in [-1, 1), then g with (1 + z) / 2 = Phi(g) is
normal, and so is cos(a) g + sin(a) g' for any angle a: a spherical interpolation (White 2016, arXiv 1609.04468) of
normal latents, mapped back by Phi. Linear interpolation would pass through latents of half the variance, on which no
generator was trained.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.inference import FoldedGenerator
from models.sampling.sampler import latents


@dataclass(frozen=True, slots=True)
class Ends:
    """First and last address of a morph: two labels, two seeds, and one index for both."""

    labels: tuple[int, int]
    seeds: tuple[int, int]
    index: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Stations:
    """The N steps of a morph, in order: latents (N, L) and classes 0 ... N - 1."""

    noise: Tensor

    @property
    def digits(self) -> int:
        return len(self.noise)

    def cut(self, start: int, stop: int, _latent_size: int) -> tuple[Tensor, Tensor]:
        return self.noise[start:stop], torch.arange(start, stop)


def morph(generator: FoldedGenerator, ends: Ends, steps: int) -> tuple[FoldedGenerator, Stations]:
    """Prepare a morph of at least two steps. Its first and last digit equal those of the addresses, to the last bit.

    The returned generator shares all weights with the given one except the embedding.
    """
    there = copy.copy(generator)
    there.embedding = straight(generator.embedding[ends.labels[0]], generator.embedding[ends.labels[1]], steps)
    first, last = (latents(seed, ends.index, 1, generator.latent_size)[0] for seed in ends.seeds)
    return there, Stations(spherical(first, last, steps))


def straight(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Interpolate two vectors (L,) linearly: (steps, L)."""
    way = torch.linspace(0, 1, steps, device=first.device)[:, None]
    rows = first * (1 - way) + last * way
    rows[0], rows[-1] = first, last
    return rows


def spherical(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Interpolate two latents (L,), uniform in [-1, 1), so that all steps (steps, L) have their distribution."""
    if torch.equal(first, last):
        return first.repeat(steps, 1)
    angle = torch.linspace(0, math.pi / 2, steps, dtype=torch.float64)[:, None]
    normal = torch.cos(angle) * to_normal(first) + torch.sin(angle) * to_normal(last)
    between: Tensor = (2 * torch.special.ndtr(normal) - 1).float()
    between[0], between[-1] = first, last
    return between


def to_normal(latent: Tensor) -> Tensor:
    """Map values that are uniform in [-1, 1) to values that are normal, and always finite."""
    smallest = 2.0**-25  # half the distance of neighbouring values, as a probability
    normal: Tensor = torch.special.ndtri(((latent.double() + 1) / 2).clamp(smallest, 1 - smallest))
    return normal
