"""A trainer whose phases appear in the trace of its job, and in its record."""

from collections.abc import Callable

from models.records import Loss, Phase
from models.training.throughput import Throughput
from models.training.trainer import Check, OnProgress, Trainer
from worker.observability import tracing


class TracedTrainer(Trainer):
    on_phase: Callable[[Phase], None] = staticmethod(lambda _: None)

    def train_epoch(self, pace: Throughput, on_progress: OnProgress | None = None) -> tuple[Loss, Loss]:
        self.on_phase("training")
        with tracing.span("train"):
            return super().train_epoch(pace, on_progress)

    def evaluate(self, epoch: int, each: Check = lambda: None) -> tuple[Loss, Loss]:
        self.on_phase("testing")
        with tracing.span("evaluate"):
            return super().evaluate(epoch, each)
