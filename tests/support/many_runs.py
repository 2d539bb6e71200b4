"""A store and records of 300 ended runs, as the product's own code writes them, for tests of the page by its users."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from app.settings import AppSettings
from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.evaluation.evaluation_records import Evaluation, EvaluationOrder, Figures
from models.registry import bundled
from models.registry.evaluations import publish_evaluation
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from models.sampling.png import encode_png
from tests.conftest import RunningRedis, set_environment
from tests.models.registry.test_store import manifest
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.client import JobClient, Order
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.model import JobStatus

RUNS = 300
WIDTHS = {"width 8": 4, "width 16": 3, "width 32": 2}  # the newest runs, and their epochs
TRAINED = 40  # runs that have checkpoints, the newest; of the others, every second was cancelled, and the rest failed
DIVERGED = "the losses are no longer finite: the run has diverged; try again with a lower adam_lr"
FIGURES = sorted(Path("models/judges").glob("*-real-6000-3.json"))


class Ids(NamedTuple):
    widths: list[str]  # of the runs in WIDTHS
    evaluated: str  # the checkpoint that has an evaluation


@contextmanager
def filled(folder: Path) -> Iterator[tuple[AppSettings, Ids]]:
    """Start a Redis, and fill it and the home `folder / "home"` with 300 runs."""
    redis = RunningRedis(folder / "redis")
    try:
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
            set_environment(patch, folder / "home")
            settings = AppSettings(redis_url=redis.url)
            ids = thread.submit(fill, settings).result()  # in a thread: the caller's has the event loop of playwright
        yield settings, ids
    finally:
        redis.kill()


def fill(settings: AppSettings) -> Ids:
    """Accept and run 300 runs. Those in WIDTHS have the bundled generator, and the others files that are no weights."""
    names = [f"baseline {number:03d}" for number in range(RUNS - len(WIDTHS))] + list(WIDTHS)

    async def accept(jobs: JobClient) -> list[str]:
        jobs.queue_limit = RUNS
        made = [await jobs.create(Order(TrainingConfig(name=name, epochs=WIDTHS.get(name, 1)))) for name in names]
        for job in made[: RUNS - TRAINED : 2]:
            await jobs.cancel(job.id)
        return [job.id for job in made]

    ids = ask_desk(settings.redis_url, accept)
    consumer, store = JobConsumer.connect(settings.redis_url), CheckpointStore(settings.store_dir)
    first = bundled.checkpoint()
    assert first
    good = bundled.STORE.read(bundled.STORE.manifest(first), GENERATOR)
    trained = set(ids[-TRAINED:])
    while claim := consumer.claim(600.0):
        if claim.job.id in trained:
            publish(consumer, store, claim, good if claim.job.config.name in WIDTHS else b"none")
            consumer.finish(claim, JobStatus.SUCCEEDED)
        else:
            consumer.finish(claim, JobStatus.FAILED, DIVERGED)
    evaluated = f"{ids[-1]}-e001"
    evaluate(settings, consumer, store, evaluated)
    consumer.close()
    return Ids(ids[-len(WIDTHS) :], evaluated)


def publish(consumer: JobConsumer, store: CheckpointStore, claim: Claim, weights: bytes) -> None:
    """Record all epochs of a run. Each took a minute; the Frechet distance is 100, 25, 11.1 and 6.25."""
    store.take(claim.job.id, claim.fence)
    for epoch in range(1, claim.job.config.epochs + 1):
        metrics = {f"{name}_{label}": 0.7 + label / 40 for label in range(10) for name in ("label_accuracy", "variety")}
        distance = 100 / epoch**2
        metrics |= {"label_accuracy": 0.8, "label_accuracy_worst": 0.7, "variety": 0.8, "variety_least": 0.7}
        metrics |= {f"frechet_distance{which}": distance for which in ("", "_raw", "_averaged")}
        plot = np.zeros((1120, 588), np.uint8)
        plot[:, :280] = np.uint8(20 * epoch)
        made = manifest(claim.job.id, epoch).model_copy(
            update={"fence": claim.fence, "config": claim.job.config, "metrics": metrics}
        )
        store.publish(made, {GENERATOR: weights, SAMPLES: encode_png(plot)})
        record = epoch_record(epoch, loss=3.0 - epoch / 4)
        consumer.add_epoch(
            claim, record.model_copy(update={"checkpoint": made.id, "metrics": metrics, "seconds": 60.0})
        )


def evaluate(settings: AppSettings, consumer: JobConsumer, store: CheckpointStore, checkpoint: str) -> None:
    """Record an evaluation of a checkpoint, with the figures of real digits."""
    order = Order(TrainingConfig(), dataset=EvaluationOrder(checkpoint=checkpoint, effort="quick"))
    ask_desk(settings.redis_url, lambda jobs: jobs.create(order))
    claim = consumer.claim(600.0)
    assert claim
    figures = Figures.model_validate_json(FIGURES[0].read_text())
    found = Evaluation(
        checkpoint=checkpoint,
        dataset="mnist",
        dataset_checksum="sha256:0",
        classes=[str(label) for label in range(10)],
        effort="quick",
        judge_accuracy=0.99,
        judge_accuracy_interval=(0.98, 1.0),
        generator=figures,
        real=figures,
        device="cpu",
        seconds=60.0,
    )
    store.take(claim.job.id, claim.fence)
    publish_evaluation(store, claim.job.id, claim.fence, "quick", found, encode_png(np.zeros((28, 28), np.uint8)))
    consumer.finish(claim, JobStatus.SUCCEEDED)
