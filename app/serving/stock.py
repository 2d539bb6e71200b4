"""Digits drawn before anybody asked for them: one generator's, for whoever gives no seed. Each is given out once.

The digits of a label are a series of one seed, so that whatever is taken out of it has an address. Whoever finds too
few of them leaves an order, which is met by what is drawn next: a batch full of what the stock will need anyway costs
less than a batch for each caller.
"""

import itertools
import mmap
import threading
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from models.config import IMAGE_SIZE, NUM_CLASSES
from models.drawing import BATCH, STEP, Series, fresh_seed

FEW = 4 * BATCH  # digits of every label, before anybody asked for more
SURPLUS = 4 * BATCH  # that a shelf may hold beyond its limit: what was drawn along with orders
AHEAD = 4  # digits drawn for one that is waited for, in a batch that has the room: who asks is seldom alone


class Taken(NamedTuple):
    series: Series
    digits: np.ndarray


class Order(NamedTuple):
    number: int  # in the order in which they were left
    n: int
    who: Any


class Shelf:
    """The stock of one label."""

    def __init__(self, label: int, wanted: int, limit: int) -> None:
        self.label = label
        self.wanted = wanted  # how many ought to lie here
        self.capacity = limit + SURPLUS
        pages = mmap.mmap(-1, self.capacity * IMAGE_SIZE**2)  # of its own: in the heap it would hold up all around it
        self.digits = np.frombuffer(pages, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)  # index i at i % capacity
        self.orders: deque[Order] = deque()
        self.ordered = 0  # digits
        self.clear()

    def clear(self) -> None:
        """Begin another series."""
        self.seed = fresh_seed()
        self.begin = self.end = self.planned = 0  # indices: what lies here, and what is being drawn
        self.early: dict[int, np.ndarray] = {}  # drawn before what comes before it

    @property
    def lacking(self) -> float:
        """The missing share of what is wanted; 0 where a batch more would be too many."""
        missing = self.wanted - (self.planned - self.begin)
        return missing / self.wanted if missing >= BATCH else 0.0

    @property
    def short(self) -> int:
        """How many digits are ordered, and not even being drawn."""
        return max(0, self.ordered - (self.planned - self.begin))

    def plan(self, n: int) -> Series:
        series = Series(self.label, n, self.seed, self.planned)
        self.planned += n
        return series

    def accept(self, series: Series, digits: np.ndarray) -> None:
        if series.seed == self.seed:  # else of a series that was given up
            self.early[series.index] = digits

    def lay(self) -> bool:
        """Lay what comes next on the shelf, where it has been drawn."""
        batch = self.early.pop(self.end, None)
        if batch is None:
            return False
        for part, place in self.places(self.end, len(batch)):
            self.digits[place] = batch[part]
        self.end += len(batch)
        return True

    def meet(self) -> list[tuple[Any, Taken]]:
        """Take what lies here for the oldest orders."""
        met = []
        while self.orders and self.end - self.begin >= self.orders[0].n:
            _, n, who = self.orders.popleft()
            self.ordered -= n
            met.append((who, self.take(n)))
        return met

    def take(self, n: int) -> Taken:
        series, taken = Series(self.label, n, self.seed, self.begin), np.empty((n, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        for part, place in self.places(self.begin, n):
            taken[part] = self.digits[place]
        self.begin += n
        return Taken(series, taken)

    def places(self, index: int, n: int) -> list[tuple[slice, slice]]:
        """Say where n digits from an index on lie: parts of them, and the places of each."""
        first = index % self.capacity
        whole = min(n, self.capacity - first)
        parts = [(slice(0, whole), slice(first, first + whole))]
        return parts if whole == n else [*parts, (slice(whole, n), slice(0, n - whole))]


class Stock:
    """Ten shelves. Whoever finds one too empty has it made larger, up to `limit` digits; a new stock starts smaller."""

    def __init__(self, limit: int, before: "Stock | None" = None) -> None:
        self.limit = limit
        self.shelves: list[Shelf]
        wanted = [shelf.wanted // 2 for shelf in before.shelves] if before else [0] * NUM_CLASSES
        self.shelves = [Shelf(label, min(limit, max(FEW, wanted[label])), limit) for label in range(NUM_CLASSES)]
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def take(self, label: int, n: int) -> Taken | None:
        """Take n digits; none where there are fewer, or where others wait for theirs."""
        shelf = self.shelves[label]
        with self._lock:
            if not shelf.orders and shelf.end - shelf.begin >= n:
                return shelf.take(n)
            shelf.wanted = min(self.limit, 2 * shelf.wanted)
            return None

    def takes_orders(self, n: int) -> bool:
        """Whether so few digits are worth an order. More fill batches by themselves."""
        return n <= BATCH // 4 and self.limit >= BATCH

    def order(self, label: int, n: int, who: Any) -> Taken | None:
        """Leave an order, to be met by `put`; or take the digits, where they came a moment ago."""
        shelf = self.shelves[label]
        with self._lock:
            if not shelf.orders and shelf.end - shelf.begin >= n:
                return shelf.take(n)
            shelf.orders.append(Order(next(self._numbers), n, who))
            shelf.ordered += n
            return None

    def is_short(self) -> bool:
        """Whether anything is ordered that is not even being drawn."""
        return any(shelf.short for shelf in self.shelves)

    def plan(self) -> list[Series]:
        """Plan a batch of what is ordered, the oldest orders first, and of what else may be before long."""
        with self._lock:
            short = sorted((shelf for shelf in self.shelves if shelf.short), key=lambda shelf: shelf.orders[0].number)
            needed = sum(shelf.short for shelf in short)
            room = min(BATCH, -(-AHEAD * needed // STEP) * STEP)
            plan = []
            for place, shelf in enumerate(short):
                share = min(room, max(shelf.short, room // (len(short) - place)))
                if share:
                    plan.append(shelf.plan(share))
                room -= share
            return plan

    def plan_ahead(self) -> list[Series]:
        """Plan a batch for the shelf that lacks most; nothing where none lacks any."""
        with self._lock:
            shelf = max(self.shelves, key=lambda shelf: shelf.lacking)
            return [shelf.plan(BATCH)] if shelf.lacking > 0 and self.limit >= BATCH else []

    def put(self, plan: list[Series], digits: np.ndarray) -> list[tuple[Any, Taken]]:
        """Lay what was planned on the shelves, in whatever order it was drawn. Return what meets the orders."""
        met, place = [], 0
        with self._lock:
            for series in plan:
                assert series.label is not None
                shelf = self.shelves[series.label]
                shelf.accept(series, digits[place : place + series.n])
                place += series.n
                while shelf.lay():
                    met += shelf.meet()
        return met

    def give_up(self, plan: list[Series]) -> list[Any]:
        """Begin another series for each label of a plan that could not be drawn. Return who waited for any of them."""
        with self._lock:
            shelves = [self.shelves[series.label] for series in plan if series.label is not None]
            waited = [order.who for shelf in shelves for order in shelf.orders]
            for shelf in shelves:
                shelf.orders.clear()
                shelf.ordered = 0
                shelf.clear()
            return waited

    def level(self, label: int) -> int:
        """How many digits lie there."""
        shelf = self.shelves[label]
        return shelf.end - shelf.begin
