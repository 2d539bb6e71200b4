"""Threads that draw. Whatever waits when one of them becomes free is drawn together, and no timer holds anybody up."""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from app import metrics
from app.serving.stock import Stock, Taken
from models.config import IMAGE_SIZE
from models.drawing import BATCH, STEP, Addresses, Series, draw_batch
from models.folding import FoldedGenerator
from worker.supervision import Beat, Supervisor

logger = logging.getLogger(__name__)

File = TypeVar("File")

FAIR = 1.25  # seconds a batch may take for each second that it computes, before others need the processor more
END_SECONDS = 5.0  # for a thread to end what it draws
LOOK_SECONDS = 1.0  # how often idle work is looked for, where nothing happens
PATIENCE = 10  # after such a batch, idle work waits this many times as long


class Busy(Exception):
    """More is waiting to be drawn than can be in good time."""

    retry_after = 1


class Wanted:
    """Digits that somebody waits for: drawn in slices, made a file of by the thread that draws the last."""

    def __init__(self, generator: FoldedGenerator, series: Addresses, encode: Callable[[np.ndarray], Any]) -> None:
        self.generator = generator
        self.series = series
        self.encode = encode
        self.digits = np.empty((series.digits, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        self.taken = 0
        self.missing = series.digits
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def encoded(self) -> Any:
        try:
            return self.encode(self.digits)
        except Exception as error:  # whatever it is, whoever waits must hear of it
            return error


class Slice(NamedTuple):
    wanted: Wanted
    start: int
    stop: int


class Ordered:
    """Digits that somebody waits for, of whichever series the stock has."""

    def __init__(self, n: int, encode: Callable[[Series, np.ndarray], bytes]) -> None:
        self.n = n
        self.encode = encode
        self.answer: asyncio.Future[tuple[Series, bytes]] = asyncio.get_running_loop().create_future()

    def encoded(self, taken: Taken) -> tuple[Series, bytes] | Exception:
        try:
            return taken.series, self.encode(*taken)
        except Exception as error:  # whatever it is, whoever waits must hear of it
            return error


class Shop(NamedTuple):
    """A generator and the stock of its digits."""

    generator: FoldedGenerator
    stock: Stock


Answer = tuple[asyncio.Future[Any], Any]  # and what is to become of it: a result, or an exception


class Batcher:
    """Draws what is waiting, oldest first; with nothing waiting, one of the threads fills the stock of `shop`.

    Belongs to the event loop that it was made in.
    """

    def __init__(
        self,
        threads: int,
        patience_seconds: float,
        shop: Callable[[], Shop | None],
        supervisor: Supervisor | None = None,
    ) -> None:
        self.threads = threads
        self.patience_seconds = patience_seconds
        self.shop = shop
        self.pending = 0  # digits that wait
        self.seconds_each = 0.0  # that a digit has lately taken a thread; 0 before the first
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Wanted | Shop] = deque()  # a shop that is short of what was ordered, once
        self._changed = threading.Condition()
        self._short: set[Shop] = set()
        self._idling = 0  # threads that fill the stock
        self._idle_from = 0.0
        self._ordered_at = -math.inf
        self._closed = False
        start = (supervisor or Supervisor()).start_thread
        self._running = [start(f"drawing-{n}", self._run) for n in range(threads)]

    def close(self) -> None:
        """Let the threads end what they draw, and nothing else."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._running:
            thread.join(END_SECONDS)

    def look(self) -> None:
        """Have idle work looked for."""
        with self._changed:
            self._changed.notify()

    async def draw(self, generator: FoldedGenerator, series: Addresses, encode: Callable[[np.ndarray], File]) -> File:
        """Draw a series and encode it. Raises Busy where too much is waiting already."""
        wanted = Wanted(generator, series, encode)
        with self._changed:
            self._admit(series.digits)
            self._waiting.append(wanted)
            self._changed.notify(self.threads if series.digits > STEP else 1)
        file: File = await wanted.answer
        return file

    async def order(
        self, shop: Shop, label: int, n: int, encode: Callable[[Series, np.ndarray], bytes]
    ) -> tuple[Series, bytes]:
        """Have the stock filled until it has n digits for the caller, and encode them. Raises Busy as `draw` does."""
        ordered = Ordered(n, encode)
        with self._changed:
            self._admit(n)
            self._ordered_at = time.monotonic()
            taken = shop.stock.order(label, n, ordered)
            if taken is not None:
                self.pending -= n
                return taken.series, encode(*taken)
            if shop not in self._short:
                self._short.add(shop)
                self._waiting.append(shop)
            self._changed.notify()
        return await ordered.answer

    def _admit(self, digits: int) -> None:
        if self.pending * self.seconds_each / self.threads > self.patience_seconds:
            raise Busy("the service is overloaded with requests for digits: retry after 1 second")
        self.pending += digits

    # ----------------------------------------------------------------------------
    # In the threads.

    def _run(self, beat: Beat) -> None:
        torch.set_num_threads(1)  # of each thread: together they have as many as there are processors
        while True:
            beat()
            with self._changed:
                while (work := self._next()) is None and not self._closed:
                    self._changed.wait(LOOK_SECONDS)
                    beat()
                if self._closed:
                    return
            assert work is not None
            work()

    def _next(self) -> Callable[[], None] | None:
        """Find a batch: from the front of what is waiting, or of what may be asked for later."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Wanted):
                return partial(self._draw, self._take(first.generator))
            self._waiting.popleft()
            plan = first.stock.plan()
            if first.stock.is_short():
                self._waiting.append(first)  # behind the others
            else:
                self._short.discard(first)
            if plan:
                return partial(self._draw_plan, first, plan)
        return self._find_idle_work()

    def _find_idle_work(self) -> Callable[[], None] | None:
        """Fill the stock: all threads while it is found too empty, else one, where others can spare the processor."""
        shop, now = self.shop(), time.monotonic()
        if shop is None or (now - self._ordered_at > LOOK_SECONDS and (self._idling or now < self._idle_from)):
            return None
        plan = shop.stock.plan_ahead()
        self._idling += bool(plan)
        return partial(self._draw_ahead, shop, plan) if plan else None

    def _take(self, generator: FoldedGenerator) -> list[Slice]:
        """Take a batch from the front, all by one generator. Of a little, leave the other threads their share."""
        share = -(-self.pending // (self.threads * STEP)) * STEP
        slices: list[Slice] = []
        room = min(BATCH, max(2 * STEP, share))
        while self._waiting and room:
            wanted = self._waiting[0]
            if not isinstance(wanted, Wanted) or wanted.generator is not generator:
                break
            stop = min(wanted.series.digits, wanted.taken + room)
            slices.append(Slice(wanted, wanted.taken, stop))
            room -= stop - wanted.taken
            self.pending -= stop - wanted.taken
            wanted.taken = stop
            if stop == wanted.series.digits:
                self._waiting.popleft()
        return slices

    def _draw(self, slices: list[Slice]) -> None:
        generator = slices[0].wanted.generator
        try:
            digits = self._draw_parts(generator, [(part.wanted.series, part.start, part.stop) for part in slices])
        except Exception as error:  # whatever it is, whoever waits must hear of it
            self._hand_over([(part.wanted.answer, error) for part in slices])
            return
        place, complete = 0, []
        for wanted, start, stop in slices:
            wanted.digits[start:stop] = digits[place : place + stop - start]
            place += stop - start
            with self._changed:
                wanted.missing -= stop - start
                if wanted.missing == 0:
                    complete.append(wanted)
        self._hand_over([(wanted.answer, wanted.encoded()) for wanted in complete])

    def _draw_plan(self, shop: Shop, plan: list[Series]) -> None:
        """Draw digits for the stock, and hand over those that are waited for."""
        try:
            digits = self._draw_parts(shop.generator, [(series, 0, series.n) for series in plan])
            met = shop.stock.put(plan, digits)
        except Exception as error:  # whatever it is, whoever waits must hear of it
            logger.exception("drawing for the stock failed")
            waited = shop.stock.give_up(plan)
            self._meet([(ordered, error) for ordered in waited])
        else:
            self._meet([(ordered, ordered.encoded(taken)) for ordered, taken in met])

    def _draw_ahead(self, shop: Shop, plan: list[Series]) -> None:
        """Draw a batch that nobody waits for; where others want the processor, do not come back soon."""
        begun, computed = time.monotonic(), time.thread_time()
        try:
            self._draw_plan(shop, plan)
        finally:
            took, computed = time.monotonic() - begun, time.thread_time() - computed
            with self._changed:
                self._idling -= 1
                if took > FAIR * computed and shop.generator.device.type == "cpu":
                    self._idle_from = begun + PATIENCE * took

    def _draw_parts(self, generator: FoldedGenerator, parts: list[tuple[Addresses, int, int]]) -> np.ndarray:
        """Draw parts of series, from and to, in one batch: uint8 (N, 28, 28)."""
        begun = time.perf_counter()
        tensors = [series.cut(start, stop, generator.latent_size) for series, start, stop in parts]
        noise, labels = (torch.cat(pieces) for pieces in zip(*tensors, strict=True))
        digits = draw_batch(generator, noise, labels)
        metrics.DIGITS_DRAWN.inc(len(digits))
        metrics.DRAWING_BATCH.observe(len(digits))
        each = (time.perf_counter() - begun) / len(digits)
        self.seconds_each += (each - self.seconds_each) * (0.1 if self.seconds_each else 1.0)
        return digits

    def _meet(self, answers: list[tuple[Ordered, tuple[Series, bytes] | Exception]]) -> None:
        with self._changed:
            self.pending -= sum(ordered.n for ordered, _ in answers)
        self._hand_over([(ordered.answer, found) for ordered, found in answers])

    def _hand_over(self, answers: list[Answer]) -> None:
        """Give the event loop all answers at once: waking it up costs more than a digit's file."""
        if answers:
            with contextlib.suppress(RuntimeError):  # it has ended, and nobody waits
                self._loop.call_soon_threadsafe(answer, answers)


def answer(answers: list[Answer]) -> None:
    for waiting, found in answers:
        if waiting.done():  # whoever asked has gone
            continue
        if isinstance(found, Exception):
            waiting.set_exception(found)
        else:
            waiting.set_result(found)
