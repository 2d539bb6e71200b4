"""Reports a run while it trains: its progress and phase, losses of the last iterations, and a picture of ten digits."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from models.records import Loss, Phase, Progress
from models.sampling.live_sample import draw_live_sample, encode_small
from models.training.trainer import Trainer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.live import LiveWriter, RecentLosses, Sample
from worker.lifecycle.context import JobContext

logger = logging.getLogger(__name__)

LOSSES_SECONDS = 1.0  # that each entry covers, at least
SAMPLE_SECONDS = 5.0


class LossWindow:
    """Means over the last iterations, computed from the means of the epoch, which are read from the device anyway."""

    def __init__(self, epoch: int, iteration: int) -> None:
        self.epoch = epoch
        self.read = (iteration, [0.0] * 6)  # iterations of this epoch, and the sums of their losses
        self.clear()

    def clear(self) -> None:
        self.began, self.iterations, self.sums = time.monotonic(), 0, [0.0] * 6

    def add(self, epoch: int, iteration: int, generator: Loss, discriminator: Loss) -> None:
        """Add the iterations since the last call. The losses are means over all iterations of the epoch so far."""
        if epoch != self.epoch:
            self.epoch, self.read = epoch, (0, [0.0] * 6)
        sums = [iteration * value for loss in (generator, discriminator) for value in loss.model_dump().values()]
        before, old = self.read
        self.read = iteration, sums
        if iteration <= before or (before and not any(old)):  # resumed: what these iterations had is not known
            return
        self.iterations += iteration - before
        self.sums = [total + new - past for total, new, past in zip(self.sums, sums, old, strict=True)]

    def take(self) -> tuple[int, Loss, Loss] | None:
        """Return the number of iterations and their mean losses; None if they cover less than a second."""
        if not self.iterations or time.monotonic() - self.began < LOSSES_SECONDS:
            return None
        means = [round(total / self.iterations, 4) for total in self.sums]
        taken = self.iterations, Loss.of(means[:3]), Loss.of(means[3:])
        self.clear()
        return taken


class LiveReport:
    """Faults of Redis are logged and do not fail the run. Calls raise LeaseLost."""

    def __init__(self, context: JobContext, trainer: Trainer) -> None:
        self.context = context
        self.trainer = trainer
        self.writer = LiveWriter(context.jobs.redis) if context.settings.live else None
        self.window = LossWindow(trainer.epoch, trainer.iteration)
        self.drawn_at = float("-inf")
        self.progress: Progress | None = None
        self.number: int | None = None
        self.phase: Phase = "training"

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Report the phase in the block. After the block, the next report names the phase before it."""
        before = self.phase
        self.enter(phase)
        try:
            yield
        finally:
            self.phase = before  # the next report names it

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        if self.progress is not None:
            self._send(self.progress)

    def report(self, progress: Progress) -> None:
        """Report progress, at most once a second; with losses and a sample if they are due."""
        self.progress = progress
        self._send(progress, self.writer is not None)

    def _send(self, progress: Progress, with_live: bool = False) -> None:
        jobs, claim = self.context.jobs, self.context.claim
        try:
            if with_live:
                self.add_live(progress)
            jobs.report(claim, progress.model_copy(update={"phase": self.phase, "live": self.number}))
        except StoreUnavailable as error:  # not a reason to fail the run
            logger.warning("job %s: its progress could not be recorded: %s", claim.job.id, error)

    def add_live(self, progress: Progress) -> None:
        """Add the recent losses and a sample to the entries of the job, if they are due."""
        losses, sample = self._recent_losses(progress), self._sample(progress)
        if self.writer is not None and (losses or sample):
            self.number = self.writer.add(self.context.claim, losses, sample)

    def _recent_losses(self, progress: Progress) -> RecentLosses | None:
        if self.trainer.means is None or self.phase != "training":
            return None
        self.window.add(progress.epoch, progress.batch, *self.trainer.means)
        taken = self.window.take()
        return taken and RecentLosses(progress.epoch, progress.batch, progress.batches, *taken)

    def _sample(self, progress: Progress) -> Sample | None:
        if self.phase != "training" or time.monotonic() - self.drawn_at < SAMPLE_SECONDS:
            return None
        trainer = self.trainer
        png = encode_small(draw_live_sample(trainer.generator, trainer.config.seed, trainer.compute.autocast()))
        self.drawn_at = time.monotonic()
        return Sample(0, progress.epoch, progress.batch, png)
