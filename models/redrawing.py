"""Digits for a data set: those of their places, or where the judge refuses one, those that come for it."""

from dataclasses import dataclass

import numpy as np

from models.config import NUM_CLASSES
from models.datasets import DatasetOrder
from models.drawing import Series, draw
from models.folding import FoldedGenerator
from models.history import Hopeless
from models.verification import Verifier

TRIES = 20  # redraws of one digit, at most


class Unreadable(Hopeless):
    """The generator's digits for a label are not found good often enough."""


@dataclass(frozen=True)
class DatasetDrawer:
    """Draws the digits of an order; without a verifier, whatever they look like."""

    generator: FoldedGenerator
    order: DatasetOrder
    verifier: Verifier | None

    def __call__(self, n: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw n indices, all ten classes of each: uint8 (n * 10, 28, 28), and redraws (n * 10,). Raises Unreadable."""
        everywhere = np.arange(n * NUM_CLASSES)
        digits, redraws = self.draw(n, first, everywhere), np.zeros(n * NUM_CLASSES, np.uint8)
        places = self.refused(digits, everywhere)
        for attempt in range(1, TRIES + 1):
            if not len(places):
                return digits, redraws
            digits[places] = self.draw(n, first + attempt * self.order.stride, places)
            redraws[places] = attempt
            places = self.refused(digits[places], places)
        if len(places):
            label = places[0] % NUM_CLASSES
            raise Unreadable(
                f"none of {TRIES + 1} digits drawn for a {label} is taken for a {label} with a probability of "
                f"{self.order.verify:g} or more: order with a lower verify, or another checkpoint"
            )
        return digits, redraws

    def draw(self, n: int, first: int, places: np.ndarray) -> np.ndarray:
        """Draw some of the n * 10 digits from an index on."""
        noise, labels = Series(None, n, self.order.seed, first).cut(0, n * NUM_CLASSES, self.generator.latent_size)
        return draw(self.generator, noise[places], labels[places])

    def refused(self, digits: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the places whose digits are not found good."""
        if self.verifier is None or self.order.verify is None:
            return places[:0]
        return places[self.verifier.probabilities(digits, places % NUM_CLASSES) < self.order.verify]
