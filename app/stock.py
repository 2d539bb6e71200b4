"""Digits drawn before anybody asked for them: one generator's, for whoever gives no seed. Each is given out once.

The digits of a label are a series of one seed, so that whatever is taken out of it has an address.
"""

import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from models.config import NUM_CLASSES
from models.drawing import BATCH, Series, fresh_seed

FEW = 4 * BATCH  # digits of every label, before anybody asked for more


class Shelf:
    """The stock of one label."""

    def __init__(self, label: int, wanted: int) -> None:
        self.label = label
        self.seed = fresh_seed()
        self.wanted = wanted  # how many ought to lie here
        self.begin = self.end = 0  # the indices that do
        self.batches: deque[np.ndarray] = deque()

    @property
    def lacking(self) -> float:
        """The missing share of what is wanted; 0 where a batch more would be too many."""
        missing = self.wanted - (self.end - self.begin)
        return missing / self.wanted if missing >= BATCH else 0.0

    def take(self, n: int) -> np.ndarray:
        self.begin += n
        parts = []
        while n:
            batch = self.batches.popleft()
            parts.append(batch[:n])
            if len(batch) > n:
                self.batches.appendleft(batch[n:])
            n -= len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Taken(NamedTuple):
    series: Series
    digits: np.ndarray


class Stock:
    """Ten shelves. Whoever finds one too empty has it made larger, up to `limit` digits; a new stock starts smaller."""

    def __init__(self, limit: int, before: "Stock | None" = None) -> None:
        self.limit = limit
        self.shelves: list[Shelf]
        wanted = [shelf.wanted // 2 for shelf in before.shelves] if before else [0] * NUM_CLASSES
        self.shelves = [Shelf(label, min(limit, max(FEW, wanted[label]))) for label in range(NUM_CLASSES)]
        self._lock = threading.Lock()

    def take(self, label: int, n: int) -> Taken | None:
        """Take n digits; none where there are fewer."""
        shelf = self.shelves[label]
        with self._lock:
            if shelf.end - shelf.begin < n:
                shelf.wanted = min(self.limit, 2 * shelf.wanted)
                return None
            series = Series(label, n, shelf.seed, shelf.begin)
            return Taken(series, shelf.take(n))

    def next(self) -> Series | None:
        """Say what to draw next: a batch for the shelf that lacks most, or nothing where none lacks any."""
        shelf = max(self.shelves, key=lambda shelf: shelf.lacking)
        if shelf.lacking <= 0 or self.limit < BATCH:
            return None
        return Series(shelf.label, BATCH, shelf.seed, shelf.end)

    def put(self, series: Series, digits: np.ndarray) -> None:
        """Lay what `next` asked for on its shelf. One thread at a time asks and puts."""
        assert series.label is not None
        shelf = self.shelves[series.label]
        with self._lock:
            shelf.batches.append(digits)
            shelf.end += len(digits)

    def level(self, label: int) -> int:
        """How many digits lie there."""
        shelf = self.shelves[label]
        return shelf.end - shelf.begin
