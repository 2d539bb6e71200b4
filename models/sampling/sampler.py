"""A digit is an address: digit `index` of (generator, label, seed) has the same pixels.

On processors of different makes, single pixels may differ by one grey level, because sums are rounded differently.

The latent depends on seed and index only: `index` 3 of label 4 and of label 8 are drawn from the same latent.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from models.config import NUM_CLASSES
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator

BATCH = 64  # digits drawn at once, at most
STEP = 8  # batch lengths are its multiples, which gave equal pixels on every processor; if not, all are BATCH


def latents(seed: int, index: int, n: int, latent_size: int) -> Tensor:
    """Return the latents of the addresses index ... index + n - 1, float32 (n, latent_size), uniform in [-1, 1).

    Philox (Salmon et al. 2011) is a counter-based generator, so the latent of an address is computed without those
    before it. Seeds are 0 ... 2**64 - 1, indices 0 ... 2**53.
    """
    blocks = -(-latent_size // 4)  # Philox yields four 64-bit words for each step of its counter
    stream = np.random.Philox(key=seed)
    stream.advance(index * blocks)
    words = stream.random_raw(n * blocks * 4).reshape(n, blocks * 4)[:, :latent_size]
    return torch.from_numpy((words >> 40).astype(np.float32) * 2.0**-23 - 1)


def fresh_seed() -> int:
    """Draw a random seed of 53 bits, which every JSON reader keeps exactly. It is not a secret."""
    return random.getrandbits(53)


def to_pixels(images: Tensor) -> Tensor:
    """Turn images (N, 1, 28, 28) in [-1, 1] into uint8 (N, 28, 28), rounding to nearest."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).squeeze(1)


class SampleBatch(Protocol):
    """Digits that can be drawn in parts, and together with other digits."""

    @property
    def digits(self) -> int: ...

    def cut(self, start: int, stop: int, latent_size: int) -> tuple[Tensor, Tensor]:
        """Return noise (stop - start, L) and labels (stop - start,) of the digits start ... stop - 1."""


@dataclass(frozen=True, slots=True)
class SampleRange:
    """Digits of one seed at consecutive indices. If `label` is None, each index has one digit of every label."""

    label: int | None
    n: int
    seed: int
    index: int = 0
    classes: int = NUM_CLASSES  # of the generator

    @property
    def digits(self) -> int:
        return self.n if self.label is not None else self.n * self.classes

    def cut(self, start: int, stop: int, latent_size: int) -> tuple[Tensor, Tensor]:
        """Return noise (stop - start, L) and labels (stop - start,) of the digits start ... stop - 1 of the series."""
        if self.label is not None:
            noise = latents(self.seed, self.index + start, stop - start, latent_size)
            return noise, torch.full((stop - start,), self.label)
        places = torch.arange(start, stop)
        first, last = start // self.classes, (stop - 1) // self.classes
        noise = latents(self.seed, self.index + first, last - first + 1, latent_size)
        return noise[places // self.classes - first], places % self.classes


@dataclass(frozen=True, slots=True)
class SampleList:
    """Digits of one seed, each with a label and an index of its own."""

    labels: Sequence[int]
    seed: int
    indices: Sequence[int]

    @property
    def digits(self) -> int:
        return len(self.labels)

    def cut(self, start: int, stop: int, latent_size: int) -> tuple[Tensor, Tensor]:
        """Return noise (stop - start, L) and labels (stop - start,) of the digits start ... stop - 1 of the list."""
        noise = [latents(self.seed, index, 1, latent_size) for index in self.indices[start:stop]]
        return torch.cat(noise), torch.tensor(self.labels[start:stop])

    def distinct(self) -> tuple["SampleList", list[int]]:
        """Return a list without the digits that occur again, and the position of each digit of this one in it."""
        addresses = list(zip(self.labels, self.indices, strict=True))
        places = {address: place for place, address in enumerate(dict.fromkeys(addresses))}
        labels, indices = zip(*places, strict=True)
        positions = [places[address] for address in addresses]
        return SampleList(labels, self.seed, indices), positions

    @property
    def names(self) -> str:
        """The seed and the index of each digit, as in `5120:17,5120:3`."""
        return ",".join(f"{self.seed}:{index}" for index in self.indices)


class Samples(NamedTuple):
    """Digits of a series, uint8 (series.digits, 28, 28), with their indices if these are not consecutive."""

    series: SampleRange
    digits: np.ndarray
    indices: Sequence[int] | None = None

    def name(self, position: int) -> str:
        """Return a digit's file name without its extension: label, seed and index."""
        label, seed, index, classes = self.series.label, self.series.seed, self.series.index, self.series.classes
        if label is None:
            return f"{position % classes}-{seed}-{index + position // classes}"
        return f"{label}-{seed}-{self.indices[position] if self.indices else index + position}"


# ----------------------------------------------------------------------------
# Drawing. The pixels of a digit must not depend on the batch in which it is drawn.


def prepare(generator: Generator, device: torch.device) -> FoldedGenerator:
    """Make a generator ready to draw. All processes do it in the same way, so an address has the same pixels in all."""
    folded = FoldedGenerator(generator, device)
    folded.step = STEP if is_steady(folded) else BATCH
    return folded


def is_steady(generator: FoldedGenerator) -> bool:
    """Return whether digits drawn in batches of different lengths are equal to the last bit."""
    noise, labels = SampleRange(None, BATCH, 0, classes=generator.classes).cut(0, BATCH, generator.latent_size)
    noise, labels = noise.to(generator.device), labels.to(generator.device)
    together = generator(noise, labels)
    equal = [(generator(noise[:n], labels[:n]) == together[:n]).all() for n in (STEP, BATCH // 2 + STEP)]
    return bool(torch.stack(equal).all())


def draw(generator: FoldedGenerator, noise: Tensor, labels: Tensor) -> np.ndarray:
    """Draw uint8 digits (N, 28, 28) from noise (N, L) and labels (N,)."""
    noise, labels = noise.to(generator.device), labels.to(generator.device)
    batches = zip(noise.split(BATCH), labels.split(BATCH), strict=True)
    digits: np.ndarray = torch.cat([pixels_of_batch(generator, z, y) for z, y in batches]).cpu().numpy()
    return digits


def draw_batch(generator: FoldedGenerator, noise: Tensor, labels: Tensor) -> np.ndarray:
    """Draw at most BATCH digits: uint8 (N, 28, 28)."""
    digits: np.ndarray = pixels_of_batch(generator, noise, labels).cpu().numpy()
    return digits


def pixels_of_batch(generator: FoldedGenerator, noise: Tensor, labels: Tensor) -> Tensor:
    """Draw at most BATCH digits: uint8 (N, 28, 28) on the generator's device."""
    n, padding = len(labels), -len(labels) % generator.step
    if padding:
        noise = torch.cat((noise, noise.new_zeros(padding, noise.shape[1])))
        labels = torch.cat((labels, labels.new_zeros(padding)))
    return to_pixels(generator(noise.to(generator.device), labels.to(generator.device)))[:n]


def draw_series(generator: FoldedGenerator, series: SampleRange) -> np.ndarray:
    """Draw all digits of a series: uint8 (series.digits, 28, 28)."""
    return draw(generator, *series.cut(0, series.digits, generator.latent_size))


def draw_digits(generator: FoldedGenerator, label: int, n: int, seed: int, index: int = 0) -> np.ndarray:
    """Draw the digits index ... index + n - 1 of (label, seed): uint8 (n, 28, 28)."""
    return draw_series(generator, SampleRange(label, n, seed, index))
