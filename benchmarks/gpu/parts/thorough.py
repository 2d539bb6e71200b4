"""A run of `thorough` with the epochs that fit: the best generator by one judge, evaluated by the other."""

import copy
import json
import time
from functools import partial
from typing import NamedTuple

from benchmarks.gpu.context import PartContext
from benchmarks.gpu.results import Line
from models.data.dataset import Dataset
from models.evaluation.evaluator import FULL, QUICK, EvaluationBudget, Evaluator
from models.evaluation.judge import find_judge
from models.evaluation.quality_gate import DIGITS, QualityGate, find_quality_gate
from models.networks import weights
from models.networks.acgan import Generator
from models.records import EpochResult
from models.sampling.sampler import prepare
from models.training.trainer import Trainer

EVALUATION_SECONDS = 45.0  # reserved for the evaluation
MOST_EPOCHS, FEWEST_EPOCHS = 200, 5
LAST_EPOCHS = 3  # each of the last epochs is judged
TINY_EFFORT = EvaluationBudget(digits=20, lessons=30, pupils=1, epochs=1)


class Best(NamedTuple):
    """The generator with the lowest Frechet distance so far."""

    epoch: int
    frechet_distance: float
    generator: Generator


def run(context: PartContext) -> None:
    dataset = context.load_dataset()
    epochs = context.measure("epochs that fit", lambda: plan_epochs(context, dataset))
    best = Training(context, dataset, epochs or FEWEST_EPOCHS).run()
    if best is None:
        context.log.write("thorough trained", ok=False, error="no epoch was judged")
        context.failures.append("thorough trained")
        return
    efforts = {"quick": TINY_EFFORT} if context.tiny else {"quick": QUICK, "full": FULL}
    for name, effort in efforts.items():
        context.measure(f"evaluation, {name}", partial(evaluate, context, dataset, best, name, effort))


def plan_epochs(context: PartContext, dataset: Dataset) -> int:
    """Return how many epochs fit, by the time of some iterations. The learning rate's schedule needs the number."""
    trainer = context.make_trainer(dataset, recipe="thorough")
    trainer.step(1, 0)
    iterations = iter(range(1, 10**6))
    blocks, block = (2, 1) if context.tiny else (4, 50)
    ms = min(context.time_blocks(lambda: trainer.step(1, next(iterations) % trainer.batches), blocks, block))
    began = time.perf_counter()
    trainer.evaluate(1)
    epoch_seconds = 1.1 * ms * trainer.batches / 1e3 + (time.perf_counter() - began)
    fit = int((context.seconds_left - EVALUATION_SECONDS) / epoch_seconds)
    return 2 if context.tiny else max(FEWEST_EPOCHS, min(MOST_EPOCHS, fit))


class Training:
    """One run. Some epochs are judged, and a file always contains the best generator so far."""

    def __init__(self, context: PartContext, dataset: Dataset, epochs: int) -> None:
        self.context = context
        self.epochs = epochs
        self.trainer: Trainer = context.make_trainer(dataset, recipe="thorough", epochs=epochs)
        digits = 20 if context.tiny else DIGITS
        latent_size, cache = self.trainer.config.latent_size, context.out / "cache"
        self.gate: QualityGate = find_quality_gate(dataset, latent_size, context.device, cache, digits)
        self.best: Best | None = None
        self.history: list[Line] = []

    def run(self) -> Best | None:
        """Train until all epochs are done, or until only the time for the evaluation remains."""
        judged = {*range(0, self.epochs, max(1, self.epochs // 10)), *range(self.epochs - LAST_EPOCHS, self.epochs + 1)}
        reserve = 0.0 if self.context.tiny else EVALUATION_SECONDS
        for epoch in self.trainer.run():
            late = self.context.seconds_left < reserve
            if epoch.epoch in judged or late:
                self.judge(epoch)
            if late:
                break
        self.write_result()
        return self.best

    def judge(self, epoch: EpochResult) -> None:
        average = self.trainer.averaged_generator()
        verdict = self.gate.verdict(self.trainer.generator.eval(), average)
        elapsed = round(time.monotonic() - self.context.started, 1)
        figures = {**verdict.metrics, "refused": verdict.refused, "averaged": verdict.averaged}
        line: Line = {"epoch": epoch.epoch, "seconds": round(epoch.seconds, 3), "elapsed": elapsed, **figures}
        self.history.append(line)
        self.context.log.write("epoch", **line)
        (self.context.out / "thorough_history.json").write_text(json.dumps(self.history, indent=1))
        distance = verdict.metrics.get("frechet_distance")
        if distance is not None and (self.best is None or distance < self.best.frechet_distance):
            generator = average if verdict.averaged else self.trainer.generator
            self.best = Best(epoch.epoch, distance, copy.deepcopy(generator).eval())
            (self.context.out / "thorough_generator.safetensors").write_bytes(weights.to_bytes(self.best.generator))

    def write_result(self) -> None:
        if self.best is None:
            return
        figures = {"epochs": self.history[-1]["epoch"], "planned": self.epochs, "best": self.best.epoch}
        figures["frechet_distance"] = round(self.best.frechet_distance, 4)
        self.context.log.write("thorough trained", ok=True, **figures)


def evaluate(
    context: PartContext, dataset: Dataset, best: Best, name: str, effort: EvaluationBudget
) -> dict[str, object]:
    """Evaluate the best generator as `acgan evaluate` does, with the reporting judge."""
    data = dataset.to(context.device)
    judge = find_judge(data, "reporting", context.out / "cache", context.device)
    figures, _ = Evaluator(data, judge, effort).examine_generator(prepare(best.generator, context.device))
    evaluation = figures.model_dump(mode="json", exclude={"confusion"})
    (context.out / f"thorough_evaluation_{name}.json").write_text(json.dumps(evaluation, indent=1))
    return evaluation
