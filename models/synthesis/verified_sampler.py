"""Draws the digits of a generated data set, and redraws those that the judge refuses."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from models.devices import processors
from models.errors import TrainingFailed
from models.evaluation.verifier import Verifier
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import BATCH, SampleRange, draw_batch
from models.synthesis.order import DatasetOrder

TRIES = 20  # largest number of redraws of one digit


class Unreadable(TrainingFailed, code="digits-not-recognised"):
    """The judge refuses too many of the generator's digits for a label."""


@dataclass(frozen=True)
class DatasetDrawer:
    """Draws the digits of an order. Without a verifier, no digit is refused."""

    generator: FoldedGenerator
    order: DatasetOrder
    verifier: Verifier | None
    pool: ThreadPoolExecutor

    def __call__(self, n: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw all K classes of n indices: uint8 (n * K, 28, 28), and redraws (n * K,). Raises Unreadable."""
        everywhere = np.arange(n * self.generator.classes)
        digits, redraws = self.draw(n, first, everywhere), np.zeros(len(everywhere), np.uint8)
        places = self.refused(digits, everywhere)
        for attempt in range(1, TRIES + 1):
            if not len(places):
                return digits, redraws
            digits[places] = self.draw(n, first + attempt * self.order.stride, places)
            redraws[places] = attempt
            places = self.refused(digits[places], places)
        if len(places):
            label = places[0] % self.generator.classes
            raise Unreadable(
                f"the judge recognised none of {TRIES + 1} digits for the label {label} with a probability of at "
                f"least {self.order.verify:g}: lower verify, or use another checkpoint"
            )
        return digits, redraws

    def draw(self, n: int, first: int, places: np.ndarray) -> np.ndarray:
        """Draw those of the n * K digits from index `first` whose positions are in `places`."""
        series = SampleRange(None, n, self.order.seed, first, self.generator.classes)
        noise, labels = series.cut(0, series.digits, self.generator.latent_size)
        chosen = noise[places].split(BATCH), labels[places].split(BATCH)
        return np.concatenate(list(self.pool.map(partial(draw_batch, self.generator), *chosen)))

    def refused(self, digits: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return those of `places` whose digits the judge refuses."""
        if self.verifier is None or self.order.verify is None:
            return places[:0]
        starts = range(BATCH, len(places), BATCH)
        parts = np.split(digits, starts), np.split(places % self.generator.classes, starts)
        found = np.concatenate(list(self.pool.map(self.verifier.probabilities, *parts)))
        return places[found < self.order.verify]


@contextmanager
def drawing_threads(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Provide threads that draw batches in parallel, on a CPU one for each processor.

    Several threads for one small batch would wait for each other: such a batch takes ten times as long if other
    programs use the processors too.
    """
    before, threads = torch.get_num_threads(), processors() if device.type == "cpu" else 1
    try:
        with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # for new threads: the next training in this process uses all of them
