"""Threads that draw. Whatever waits when one of them becomes free is drawn together, and no timer holds anybody up."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from app import metrics
from models.config import IMAGE_SIZE
from models.drawing import BATCH, STEP, Series, draw_batch, draw_series
from models.folding import FoldedGenerator

FAIR = 1.25  # seconds a batch may take for each second that it computes, before others need the processor more
END_SECONDS = 5.0  # for a thread to end what it draws
LOOK_SECONDS = 1.0  # how often idle work is looked for, where nothing happens
PATIENCE = 10  # after such a batch, idle work waits this many times as long


class Busy(Exception):
    """More is waiting to be drawn than can be in good time."""

    retry_after = 1


class Wanted:
    """Digits that somebody waits for: drawn in slices, made a file of by the thread that draws the last."""

    def __init__(self, generator: FoldedGenerator, series: Series, encode: Callable[[np.ndarray], bytes]) -> None:
        self.generator = generator
        self.series = series
        self.encode = encode
        self.digits = np.empty((series.digits, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        self.taken = 0
        self.missing = series.digits
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def encoded(self) -> bytes | Exception:
        try:
            return self.encode(self.digits)
        except Exception as error:  # whatever it is, whoever waits must hear of it
            return error


class Slice(NamedTuple):
    wanted: Wanted
    start: int
    stop: int


class IdleWork(NamedTuple):
    """A batch that nobody waits for, and what to do with its digits."""

    generator: FoldedGenerator
    series: Series
    put: Callable[[Series, np.ndarray], None]


class Batcher:
    """Draws what is waiting, oldest first; with nothing waiting, one of the threads does what `idle_work` finds.

    Belongs to the event loop that it was made in.
    """

    def __init__(self, threads: int, patience_seconds: float, idle_work: Callable[[], IdleWork | None]) -> None:
        self.threads = threads
        self.patience_seconds = patience_seconds
        self.idle_work = idle_work
        self.pending = 0  # digits that wait
        self.seconds_each = 0.0  # that a digit has lately taken a thread; 0 before the first
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Wanted] = deque()
        self._changed = threading.Condition()
        self._idling = False
        self._idle_from = 0.0
        self._closed = False
        self._running = [threading.Thread(target=self._run, name=f"drawing-{n}", daemon=True) for n in range(threads)]
        for thread in self._running:
            thread.start()

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

    async def draw(self, generator: FoldedGenerator, series: Series, encode: Callable[[np.ndarray], bytes]) -> bytes:
        """Draw a series and encode it. Raises Busy where too much is waiting already."""
        wanted = Wanted(generator, series, encode)
        with self._changed:
            if self.pending * self.seconds_each / self.threads > self.patience_seconds:
                raise Busy("more digits are being asked for than can be drawn just now: ask again in a second")
            self.pending += series.digits
            self._waiting.append(wanted)
            self._changed.notify(self.threads if series.digits > STEP else 1)
        return await wanted.answer

    # ----------------------------------------------------------------------------
    # In the threads.

    def _run(self) -> None:
        torch.set_num_threads(1)  # of each thread: together they have as many as there are processors
        while True:
            with self._changed:
                while not (slices := self._take()) and not (idle := self._take_idle()) and not self._closed:
                    self._changed.wait(LOOK_SECONDS)
                if self._closed:
                    return
            if slices:
                self._draw(slices)
            elif idle:
                self._draw_idle(idle)

    def _take(self) -> list[Slice]:
        """Take a batch from the front, all by one generator. Of a little, leave the other threads their share."""
        share = -(-self.pending // (self.threads * STEP)) * STEP
        slices: list[Slice] = []
        room = min(BATCH, max(2 * STEP, share))
        while self._waiting and room:
            wanted = self._waiting[0]
            if slices and wanted.generator is not slices[0].wanted.generator:
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
        begun, generator = time.perf_counter(), slices[0].wanted.generator
        try:
            parts = [part.wanted.series.cut(part.start, part.stop, generator.latent_size) for part in slices]
            noise, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
            digits = draw_batch(generator, noise, labels)
        except Exception as error:  # whatever it is, whoever waits must hear of it
            self._hand_over([(part.wanted, error) for part in slices])
            return
        place, complete = 0, []
        for wanted, start, stop in slices:
            wanted.digits[start:stop] = digits[place : place + stop - start]
            place += stop - start
            with self._changed:
                wanted.missing -= stop - start
                if wanted.missing == 0:
                    complete.append(wanted)
        self._hand_over([(wanted, wanted.encoded()) for wanted in complete])
        metrics.DIGITS_DRAWN.inc(place)
        metrics.DRAWING_BATCH.observe(place)
        each = (time.perf_counter() - begun) / place
        self.seconds_each += (each - self.seconds_each) * (0.1 if self.seconds_each else 1.0)

    def _hand_over(self, answers: list[tuple[Wanted, bytes | Exception]]) -> None:
        """Give the event loop all answers at once: waking it up costs more than a digit's file."""
        if answers:
            with contextlib.suppress(RuntimeError):  # it has ended, and nobody waits
                self._loop.call_soon_threadsafe(answer, answers)

    def _take_idle(self) -> IdleWork | None:
        if self._idling or self._closed or time.monotonic() < self._idle_from:
            return None
        work = self.idle_work()
        self._idling = work is not None
        return work

    def _draw_idle(self, work: IdleWork) -> None:
        """Draw a batch; where others want the processor, do not come back soon."""
        begun, computed = time.monotonic(), time.thread_time()
        try:
            work.put(work.series, draw_series(work.generator, work.series))
            metrics.DIGITS_DRAWN.inc(work.series.digits)
        finally:
            took, computed = time.monotonic() - begun, time.thread_time() - computed
            with self._changed:
                self._idling = False
                if took > FAIR * computed and work.generator.device.type == "cpu":
                    self._idle_from = begun + PATIENCE * took


def answer(answers: list[tuple[Wanted, bytes | Exception]]) -> None:
    for wanted, found in answers:
        if wanted.answer.done():  # whoever asked has gone
            continue
        if isinstance(found, Exception):
            wanted.answer.set_exception(found)
        else:
            wanted.answer.set_result(found)
