"""A bank of digits by style, from which the digits of a number are chosen so that they look written by one hand.

The bank has the first SIZE digits of every class at one fixed seed, without those whose label the judge does not
recognise, and the style of each. It depends on the generator and the judge only.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np

from models.config import NUM_CLASSES
from models.evaluation.style import DESCRIPTORS, Scale, describe
from models.evaluation.verifier import Verifier
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import BATCH, SampleList, SampleRange, Samples, draw_series

VERSION = 1  # incremented when the same generator and judge give another bank or another choice
SEED = 5120  # of the bank's digits
SIZE = 512  # digits of a class that are drawn for the bank
READABLE = 0.99  # least probability that the judge gives to the label of a digit in the bank
LEAST = 64  # digits of a class in the bank: if fewer are readable, those that the judge reads best
CHOICE_KEY = 0x5354594C45 << 64  # of the random numbers that choose styles, so that they are not those of latents


def version_of(verifier: Verifier | None) -> str:
    """Return all that determines a bank apart from the generator."""
    return f"{VERSION} {SEED} {SIZE} {READABLE} {LEAST} {verifier.checksum if verifier else None}"


def parts(size: int = SIZE, classes: int = NUM_CLASSES) -> Iterator[SampleRange]:
    """Yield the digits of a bank in parts of at most 64 digits of one class, class by class."""
    for label in range(classes):
        for first in range(0, size, BATCH):
            yield SampleRange(label, min(BATCH, size - first), SEED, first)


class Measured(NamedTuple):
    """Digits of one class at consecutive indices, and what a bank needs to know about them."""

    digits: np.ndarray  # uint8 (n, 28, 28)
    descriptors: np.ndarray  # float64 (n, 4)
    probabilities: np.ndarray  # float32 (n,) that the judge gives to their label; 1 without a judge

    @classmethod
    def of(cls, samples: Samples, verifier: Verifier | None) -> Self:
        """Measure digits. The result does not depend on which digits are measured together."""
        digits, label = samples.digits, samples.series.label
        assert label is not None
        probabilities = verifier.probabilities(digits, label) if verifier else np.ones(len(digits), np.float32)
        return cls(digits, describe(digits), probabilities)

    @classmethod
    def joined(cls, parts: Sequence["Measured"]) -> Self:
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def readable(self) -> np.ndarray:
        """Return the indices of the digits that may be in the bank, ascending."""
        indices = np.flatnonzero(self.probabilities >= READABLE)
        if len(indices) < LEAST:
            indices = np.sort(np.argsort(-self.probabilities, kind="stable")[:LEAST])
        return indices


class ClassStyles(NamedTuple):
    """The digits of one class in a bank."""

    indices: np.ndarray  # int64 (n,), ascending, within SEED
    digits: np.ndarray  # uint8 (n, 28, 28)
    styles: np.ndarray  # float64 (n, 4), standardised

    @classmethod
    def of(cls, measured: Measured) -> Self:
        indices = measured.readable()
        descriptors = measured.descriptors[indices]
        return cls(indices, measured.digits[indices], Scale.of(descriptors).apply(descriptors))

    def nearest(self, style: np.ndarray) -> np.ndarray:
        """Return the positions (n,) of the digits, from the nearest to the farthest from a style (4,)."""
        distances = np.zeros(len(self.styles))
        for each in range(len(DESCRIPTORS)):  # one by one: sums of the same order on every machine
            distances += (self.styles[:, each] - style[each]) ** 2
        return np.argsort(distances, kind="stable")


class StyleBank(NamedTuple):
    """The readable digits of each class with their styles. With 512 digits a class it takes at most 4.3 MB."""

    classes: tuple[ClassStyles, ...]

    @classmethod
    def of(cls, measured: Sequence[Measured]) -> Self:
        """Make a bank from the measured digits of each class, which begin at index 0."""
        return cls(tuple(ClassStyles.of(each) for each in measured))

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for each in self.classes for array in each)

    def style(self, seed: int, index: int = 0) -> np.ndarray:
        """Choose a style (4,): that of a digit of the bank, each with the same probability."""
        stream = np.random.Philox(key=CHOICE_KEY | seed)
        stream.advance(index)
        styles = np.concatenate([each.styles for each in self.classes])
        chosen: np.ndarray = styles[int(stream.random_raw()) % len(styles)]
        return chosen

    def choose(self, labels: Sequence[int], seed: int, index: int = 0) -> "Choice":
        """Choose a digit for each label.

        It is the digit whose style is nearest to the style of (seed, index). If a label occurs again, it is the next
        nearest one, so a number has no digit twice if no label occurs more than LEAST times.
        """
        style, positions = self.style(seed, index), list[int]()
        by_distance = {label: self.classes[label].nearest(style) for label in set(labels)}
        for place, label in enumerate(labels):
            nearest = by_distance[label]
            positions.append(int(nearest[labels[:place].count(label) % len(nearest)]))
        chosen = list(zip(labels, positions, strict=True))
        indices = [int(self.classes[label].indices[position]) for label, position in chosen]
        digits = np.stack([self.classes[label].digits[position] for label, position in chosen])
        return Choice(SampleList(labels, SEED, indices), digits)


class Choice(NamedTuple):
    """Digits of one style, uint8 (n, 28, 28), and their addresses."""

    addresses: SampleList
    digits: np.ndarray


def draw_bank(generator: FoldedGenerator, verifier: Verifier | None, size: int = SIZE) -> StyleBank:
    """Make the bank of a generator. It takes seconds of one processor."""
    by_class: list[list[Measured]] = [[] for _ in range(NUM_CLASSES)]
    for series in parts(size):
        assert series.label is not None
        by_class[series.label].append(Measured.of(Samples(series, draw_series(generator, series)), verifier))
    return StyleBank.of([Measured.joined(each) for each in by_class])
