"""Threads that draw digits. A free thread draws all waiting requests in one batch, without a timer that delays them."""

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

import anyio.to_thread
import numpy as np
import torch

from app import metrics
from app.inference.sample_buffer import SampleBuffer
from models.config import IMAGE_SIZE
from models.errors import Unavailable
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import BATCH, STEP, SampleBatch, SampleRange, Samples, draw_batch
from worker.observability.background_loops import Beat, Supervisor

logger = logging.getLogger(__name__)

File = TypeVar("File")

FAIR = 1.25  # wall time divided by CPU time of a batch; above it, other programs need the processor
FAILED_SECONDS = 10.0  # that idle work pauses after an error, which would otherwise be repeated without end
END_SECONDS = 5.0  # for a thread to finish its batch at the end
LOOK_SECONDS = 1.0  # between two searches for idle work
PATIENCE = 10  # after a batch above FAIR, idle work pauses for this multiple of its wall time


class Busy(Unavailable, code="overloaded"):
    """The queue is too long: the request would wait longer than the limit."""

    retry_after = 1


class DrawRequest:
    """A request for digits: drawn in slices, and encoded by the thread that draws the last slice."""

    def __init__(self, generator: FoldedGenerator, series: SampleBatch, encode: Callable[[np.ndarray], Any]) -> None:
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
        except Exception as error:  # delivered to the waiting request
            return error


class Slice(NamedTuple):
    wanted: DrawRequest
    start: int
    stop: int


class PendingTake:
    """A request for any digits of a label, which waits until the stock has enough."""

    def __init__(self, n: int, encode: Callable[[Samples], bytes]) -> None:
        self.n = n
        self.encode = encode
        self.answer: asyncio.Future[tuple[SampleRange, bytes]] = asyncio.get_running_loop().create_future()

    def encoded(self, taken: Samples) -> tuple[SampleRange, bytes] | Exception:
        try:
            return taken.series, self.encode(taken)
        except Exception as error:  # delivered to the waiting request
            return error


class BufferTarget(NamedTuple):
    """A generator, and its pre-generated digits."""

    generator: FoldedGenerator
    stock: SampleBuffer


Answer = tuple[asyncio.Future[Any], Any]  # with its result or exception
NoteError = Callable[[Exception], None]


def ignore(_error: Exception) -> None:
    pass


class Batcher:
    """Draws waiting requests, oldest first. If none wait, one of the threads fills the stock of `find_target`.

    Belongs to the event loop in which it was created.
    """

    def __init__(
        self,
        threads: int,
        patience_seconds: float,
        find_target: Callable[[], BufferTarget | None],
        supervisor: Supervisor | None = None,
        note_error: NoteError = ignore,
    ) -> None:
        """`note_error` is called with each error of drawing, in the thread that draws."""
        self.threads = threads
        self.patience_seconds = patience_seconds
        self.find_target = find_target
        self.note_error = note_error
        self.pending = 0  # digits that wait
        self.seconds_each = 0.0  # moving average of a thread's time per digit; 0 before the first
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[DrawRequest | BufferTarget] = (
            deque()
        )  # a target at most once, if its stock is short of ordered digits
        self._changed = threading.Condition()
        self._short: set[BufferTarget] = set()
        self._idling = 0  # threads that fill the stock
        self._idle_from = 0.0  # monotonic times
        self._failed_until = 0.0
        self._ordered_at = -math.inf
        self._closed = False
        start = (supervisor or Supervisor()).start_thread
        self._running = [start(f"drawing-{n}", self._run) for n in range(threads)]

    def close(self) -> None:
        """Stop the threads after their current batch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._running:
            thread.join(END_SECONDS)

    def look(self) -> None:
        """Wake a thread to search for idle work."""
        with self._changed:
            self._changed.notify()

    async def draw(self, generator: FoldedGenerator, series: SampleBatch, encode: Callable[[np.ndarray], File]) -> File:
        """Draw a series and encode it. Raises Busy if the wait would be too long."""
        wanted = DrawRequest(generator, series, encode)
        with self._changed:
            self._admit(series.digits)
            self._waiting.append(wanted)
            self._changed.notify(self.threads if series.digits > STEP else 1)
        file: File = await wanted.answer
        return file

    async def take_or_wait(
        self, target: BufferTarget, label: int, n: int, encode: Callable[[Samples], bytes]
    ) -> tuple[SampleRange, bytes]:
        """Wait until the stock has n digits for the caller, and encode them. Raises Busy like `draw`."""
        ordered = PendingTake(n, encode)
        with self._changed:
            self._admit(n)
            self._ordered_at = time.monotonic()
            taken = target.stock.wait_for(label, n, ordered)
            if taken is not None:
                self.pending -= n
            elif target not in self._short:
                self._short.add(target)
                self._waiting.append(target)
            self._changed.notify()
        if taken is not None:  # drawn since the caller last looked, which is rare
            return taken.series, await anyio.to_thread.run_sync(encode, taken)
        return await ordered.answer

    def _admit(self, digits: int) -> None:
        if self.pending * self.seconds_each / self.threads > self.patience_seconds:
            raise Busy("the service is overloaded with requests for digits: retry after 1 second")
        self.pending += digits

    # ----------------------------------------------------------------------------
    # In the threads.

    def _run(self, beat: Beat) -> None:
        torch.set_num_threads(1)  # per drawing thread; there is one drawing thread per processor
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
        """Find work for a thread: a batch for the oldest requests, or else digits for the stock."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, DrawRequest):
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
        """Fill the stock: with all threads if requests recently exceeded it; else with one, if the CPU is free."""
        target, now = self.find_target(), time.monotonic()
        if (
            target is None
            or now < self._failed_until
            or (now - self._ordered_at > LOOK_SECONDS and (self._idling or now < self._idle_from))
        ):
            return None
        plan = target.stock.plan_ahead()
        self._idling += bool(plan)
        return partial(self._draw_ahead, target, plan) if plan else None

    def _take(self, generator: FoldedGenerator) -> list[Slice]:
        """Take a batch of the oldest requests for one generator; leave the other threads a share of a short queue."""
        share = -(-self.pending // (self.threads * STEP)) * STEP
        slices: list[Slice] = []
        room = min(BATCH, max(2 * STEP, share))
        while self._waiting and room:
            wanted = self._waiting[0]
            if not isinstance(wanted, DrawRequest) or wanted.generator is not generator:
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
        except Exception as error:  # delivered to the waiting requests
            self.note_error(error)
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

    def _draw_plan(self, target: BufferTarget, plan: list[SampleRange]) -> None:
        """Draw digits for the stock, and deliver those that requests wait for."""
        try:
            digits = self._draw_parts(target.generator, [(series, 0, series.n) for series in plan])
            met = target.stock.put(plan, digits)
        except Exception as error:  # delivered to the waiting requests
            logger.exception("drawing for the stock failed")
            self.note_error(error)
            self._failed_until = time.monotonic() + FAILED_SECONDS
            waited = target.stock.give_up(plan)
            self._meet([(ordered, error) for ordered in waited])
        else:
            self._meet([(ordered, ordered.encoded(taken)) for ordered, taken in met])

    def _draw_ahead(self, target: BufferTarget, plan: list[SampleRange]) -> None:
        """Draw a batch for the stock without a request; pause idle work if other programs need the processor."""
        begun, computed = time.monotonic(), time.thread_time()
        try:
            self._draw_plan(target, plan)
        finally:
            took, computed = time.monotonic() - begun, time.thread_time() - computed
            with self._changed:
                self._idling -= 1
                if took > FAIR * computed and target.generator.device.type == "cpu":
                    self._idle_from = begun + PATIENCE * took

    def _draw_parts(self, generator: FoldedGenerator, parts: list[tuple[SampleBatch, int, int]]) -> np.ndarray:
        """Draw parts (series, start, stop) in one batch. Returns uint8 of shape (N, 28, 28)."""
        begun = time.perf_counter()
        tensors = [series.cut(start, stop, generator.latent_size) for series, start, stop in parts]
        noise, labels = (torch.cat(pieces) for pieces in zip(*tensors, strict=True))
        digits = draw_batch(generator, noise, labels)
        metrics.DIGITS_DRAWN.inc(len(digits))
        metrics.DRAWING_BATCH.observe(len(digits))
        each = (time.perf_counter() - begun) / len(digits)
        self.seconds_each += (each - self.seconds_each) * (0.1 if self.seconds_each else 1.0)
        return digits

    def _meet(self, answers: list[tuple[PendingTake, tuple[SampleRange, bytes] | Exception]]) -> None:
        with self._changed:
            self.pending -= sum(ordered.n for ordered, _ in answers)
        self._hand_over([(ordered.answer, found) for ordered, found in answers])

    def _hand_over(self, answers: list[Answer]) -> None:
        """Deliver all results to the event loop in one call: a wake-up costs more than the file of a digit."""
        if answers:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(answer, answers)


def answer(answers: list[Answer]) -> None:
    for waiting, found in answers:
        if waiting.done():  # the client has disconnected
            continue
        if isinstance(found, Exception):
            waiting.set_exception(found)
        else:
            waiting.set_result(found)
