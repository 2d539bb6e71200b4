"""Throughput of a run and the time until it ends."""

import time

from models.records import Progress

REPORT_SECONDS = 1.0
REPORT_ITERATIONS = 2
AVERAGED_SECONDS = 30.0


class Throughput:
    """Measures the duration of iterations and of epoch ends; times are monotonic seconds.

    The rate covers about the last half minute. The end of an epoch (evaluation, plot, checkpoint) is estimated by the
    duration of the last one, and before the first one by `ending`, a number of iterations.
    """

    def __init__(self, epochs: int, batches: int, batch_size: int, ending: float = 0.0) -> None:
        self.epochs = epochs
        self.batches = batches
        self.batch_size = batch_size
        self.ending = ending
        self.epoch = 0
        self.batch = 0
        self.epoch_ended = False
        self.iteration_seconds = 0.0
        self.epoch_end_seconds: float | None = None
        self._reported_at = self._iterated_at = time.monotonic()
        self._reported_batch = 0

    def epoch_begins(self, epoch: int, batch: int = 0) -> None:
        """Begin an epoch, of which `batch` iterations are done already."""
        self.epoch, self.batch, self.epoch_ended = epoch, batch, False
        self._reported_at, self._reported_batch = time.monotonic(), batch

    def due(self) -> bool:
        """Return whether a report is due, outside of iterations."""
        if time.monotonic() - self._reported_at < REPORT_SECONDS:
            return False
        self._reported_at = time.monotonic()
        return True

    def epoch_ends(self) -> None:
        self.epoch_ended = True
        self.epoch_end_seconds = time.monotonic() - self._iterated_at

    def iteration_done(self, batch: int) -> bool:
        """Count an iteration. Returns whether a report is due."""
        self.batch = batch
        self._iterated_at = time.monotonic()
        elapsed, iterations = self._iterated_at - self._reported_at, batch - self._reported_batch
        if batch < self.batches and (elapsed < REPORT_SECONDS or iterations < REPORT_ITERATIONS):
            return False
        weight = min(1.0, elapsed / AVERAGED_SECONDS) if self.iteration_seconds else 1.0
        self.iteration_seconds += weight * (elapsed / iterations - self.iteration_seconds)
        self._reported_at, self._reported_batch = self._iterated_at, batch
        return True

    def progress(self) -> Progress:
        epochs_to_come = self.epochs - self.epoch
        iterations = self.batches - self.batch + epochs_to_come * self.batches
        end_seconds = self.epoch_end_seconds
        if end_seconds is None:
            end_seconds = self.ending * self.iteration_seconds
        ends = epochs_to_come * end_seconds
        if not self.epoch_ended:
            begun = time.monotonic() - self._iterated_at if self.batch == self.batches else 0.0
            ends += max(0.0, end_seconds - begun)
        return Progress(
            epoch=self.epoch,
            epochs=self.epochs,
            batch=self.batch,
            batches=self.batches,
            images_per_second=self.batch_size / self.iteration_seconds if self.iteration_seconds else 0.0,
            eta_seconds=iterations * self.iteration_seconds + ends,
        )
