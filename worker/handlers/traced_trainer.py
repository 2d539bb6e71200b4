"""A trainer whose phases appear in the trace of its job."""

from models.records import Loss
from models.training.throughput import Throughput
from models.training.trainer import Check, OnProgress, Trainer
from worker.observability import tracing


class TracedTrainer(Trainer):
    def train_epoch(self, pace: Throughput, on_progress: OnProgress | None = None) -> tuple[Loss, Loss]:
        with tracing.span("train"):
            return super().train_epoch(pace, on_progress)

    def evaluate(self, epoch: int, each: Check = lambda: None) -> tuple[Loss, Loss]:
        with tracing.span("evaluate"):
            return super().evaluate(epoch, each)
