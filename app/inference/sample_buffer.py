"""Pre-generated digits of the current model, used for requests without a seed. Each digit is returned only once.

The digits of a label are a series of one seed, so each one has an address. A request that finds too few digits waits
for the next batch, which also draws digits for later requests: one full batch costs less than a batch for each request.
"""

import itertools
import mmap
import threading
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from models.config import IMAGE_SIZE, NUM_CLASSES
from models.sampling.sampler import BATCH, STEP, SampleRange, Samples, fresh_seed

FEW = 4 * BATCH  # initial target per label, before any request needed more
SURPLUS = 4 * BATCH  # digits of a label that may be stored beyond the limit: those drawn together with requested ones
AHEAD = (
    4  # digits drawn per digit that a request waits for, if the batch has room, because requests often come in groups
)


class WaitingTake(NamedTuple):
    number: int  # ascending in time
    n: int
    waiter: Any


class LabelBuffer:
    """The stock of one label."""

    def __init__(self, label: int, wanted: int, limit: int) -> None:
        self.label = label
        self.wanted = wanted  # target number of digits
        self.capacity = limit + SURPLUS
        pages = mmap.mmap(-1, self.capacity * IMAGE_SIZE**2)  # separate from the heap, which it would fragment
        self.digits = np.frombuffer(pages, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)  # index i at i % capacity
        self.waiting: deque[WaitingTake] = deque()
        self.awaited = 0  # digits
        self.clear()

    def clear(self) -> None:
        """Discard all digits and start a series with a new seed."""
        self.seed = fresh_seed()
        self.begin = self.end = self.planned = 0  # indices: available are begin to end, in progress end to planned
        self.early: dict[int, np.ndarray] = {}  # batches that were finished before an earlier one

    @property
    def lacking(self) -> float:
        """The missing share of the target; 0 if a full batch would exceed the target."""
        missing = self.wanted - (self.planned - self.begin)
        return missing / self.wanted if missing >= BATCH else 0.0

    @property
    def short(self) -> int:
        """The number of digits that requests wait for and that are neither available nor being drawn."""
        return max(0, self.awaited - (self.planned - self.begin))

    def plan(self, n: int) -> SampleRange:
        series = SampleRange(self.label, n, self.seed, self.planned)
        self.planned += n
        return series

    def accept(self, series: SampleRange, digits: np.ndarray) -> None:
        if series.seed == self.seed:  # otherwise it belongs to an abandoned series
            self.early[series.index] = digits

    def append_next(self) -> bool:
        """Append the next batch of the series if it has been drawn. Returns whether it has."""
        batch = self.early.pop(self.end, None)
        if batch is None:
            return False
        for part, place in self.places(self.end, len(batch)):
            self.digits[place] = batch[part]
        self.end += len(batch)
        return True

    def fill_waiting(self) -> list[tuple[Any, Samples]]:
        """Serve the oldest waiting requests from the available digits. Returns the waiters with their digits."""
        filled = []
        while self.waiting and self.end - self.begin >= self.waiting[0].n:
            _, n, waiter = self.waiting.popleft()
            self.awaited -= n
            filled.append((waiter, self.take(n)))
        return filled

    def take(self, n: int) -> Samples:
        series, digits = (
            SampleRange(self.label, n, self.seed, self.begin),
            np.empty((n, IMAGE_SIZE, IMAGE_SIZE), np.uint8),
        )
        for part, place in self.places(self.begin, n):
            digits[part] = self.digits[place]
        self.begin += n
        return Samples(series, digits)

    def places(self, index: int, n: int) -> list[tuple[slice, slice]]:
        """Return the positions of n digits in the ring buffer, as pairs of slices of the digits and of the buffer."""
        first = index % self.capacity
        whole = min(n, self.capacity - first)
        parts = [(slice(0, whole), slice(first, first + whole))]
        return parts if whole == n else [*parts, (slice(whole, n), slice(0, n - whole))]


class SampleBuffer:
    """One buffer per label. A request that finds too few digits doubles the target, up to `limit`.

    A new stock starts with half of the targets of the one before.
    """

    def __init__(self, limit: int, before: "SampleBuffer | None" = None) -> None:
        self.limit = limit
        self.buffers: list[LabelBuffer]
        wanted = [buffer.wanted // 2 for buffer in before.buffers] if before else [0] * NUM_CLASSES
        self.buffers = [LabelBuffer(label, min(limit, max(FEW, wanted[label])), limit) for label in range(NUM_CLASSES)]
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def take(self, label: int, n: int) -> Samples | None:
        """Take n digits; returns None if there are fewer, or if other requests wait."""
        buffer = self.buffers[label]
        with self._lock:
            if not buffer.waiting and buffer.end - buffer.begin >= n:
                return buffer.take(n)
            buffer.wanted = min(self.limit, 2 * buffer.wanted)
            return None

    def may_wait(self, n: int) -> bool:
        """Return whether a request for n digits should wait for them; a larger one fills a batch by itself."""
        return n <= BATCH // 4 and self.limit >= BATCH

    def wait_for(self, label: int, n: int, waiter: Any) -> Samples | None:
        """Return n digits, or None if there are fewer: `put` then returns the waiter with its digits."""
        buffer = self.buffers[label]
        with self._lock:
            if not buffer.waiting and buffer.end - buffer.begin >= n:
                return buffer.take(n)
            buffer.waiting.append(WaitingTake(next(self._numbers), n, waiter))
            buffer.awaited += n
            return None

    def is_short(self) -> bool:
        """Return whether requests wait for digits that are not being drawn."""
        return any(buffer.short for buffer in self.buffers)

    def plan(self) -> list[SampleRange]:
        """Plan a batch for the waiting requests, oldest first, and some more digits that may be requested soon."""
        with self._lock:
            short = sorted(
                (buffer for buffer in self.buffers if buffer.short), key=lambda buffer: buffer.waiting[0].number
            )
            needed = sum(buffer.short for buffer in short)
            room = min(BATCH, -(-AHEAD * needed // STEP) * STEP)
            plan = []
            for place, buffer in enumerate(short):
                share = min(room, max(buffer.short, room // (len(short) - place)))
                if share:
                    plan.append(buffer.plan(share))
                room -= share
            return plan

    def plan_ahead(self) -> list[SampleRange]:
        """Plan a batch for the buffer with the largest missing share; empty if none is missing."""
        with self._lock:
            buffer = max(self.buffers, key=lambda buffer: buffer.lacking)
            return [buffer.plan(BATCH)] if buffer.lacking > 0 and self.limit >= BATCH else []

    def put(self, plan: list[SampleRange], digits: np.ndarray) -> list[tuple[Any, Samples]]:
        """Store the digits of a plan; plans may finish in any order. Returns the waiters that now have their digits."""
        filled, place = [], 0
        with self._lock:
            for series in plan:
                assert series.label is not None
                buffer = self.buffers[series.label]
                buffer.accept(series, digits[place : place + series.n])
                place += series.n
                while buffer.append_next():
                    filled += buffer.fill_waiting()
        return filled

    def give_up(self, plan: list[SampleRange]) -> list[Any]:
        """Start a new series for each label of a plan that failed. Returns the waiters of these labels."""
        with self._lock:
            buffers = [self.buffers[series.label] for series in plan if series.label is not None]
            waiters = [take.waiter for buffer in buffers for take in buffer.waiting]
            for buffer in buffers:
                buffer.waiting.clear()
                buffer.awaited = 0
                buffer.clear()
            return waiters

    def level(self, label: int) -> int:
        """Return the number of available digits."""
        buffer = self.buffers[label]
        return buffer.end - buffer.begin
