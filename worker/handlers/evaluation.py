"""Evaluates a checkpoint, as `acgan evaluate` does: the job's result is a table of figures and a picture in the store.

The figures of finished steps are kept in a folder. A worker of this machine, or of one that shares the store's folder,
continues after them; another one begins again.
"""

import logging
import time
from functools import partial
from pathlib import Path

from models.bounded_reading import FileInvalid
from models.config import TrainingConfig
from models.evaluation.evaluation_picture import draw_evaluation
from models.evaluation.evaluation_steps import StoredSteps
from models.evaluation.evaluator import EFFORTS, Evaluator, evaluate
from models.evaluation.judge import find_judge
from models.evaluation.real_figures import find_real, known_real
from models.networks.weights import generator_from_bytes
from models.registry.evaluations import WORK, has_evaluation, list_evaluation, publish_evaluation, read_evaluation
from models.registry.storage.base import Folder
from models.registry.store import CheckpointDamaged, FenceRejected
from models.sampling.sampler import prepare
from models.torch_device import describe, find_device
from models.training.environment import ComputeEnvironment, reset_threads
from worker.handlers.dataset_drawing import names_of, read_generator
from worker.handlers.training import load_data
from worker.jobs.model import JobStatus
from worker.lifecycle.context import JobContext
from worker.observability import tracing

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.5  # between two reports of the progress


def evaluate_checkpoint(context: JobContext) -> None:
    """Compute the figures of the job's checkpoint and store them.

    Raises LeaseLost, Cancelled and Interrupted within a second, and keeps the figures of finished steps. Raises
    CheckpointNotFound, CheckpointDamaged, InvalidWeights, DatasetUnavailable, TrainingDataNotFound, OSError.
    """
    context.check()
    job, order, storage, settings = context.job, context.job.evaluation, context.storage, context.settings
    assert order is not None
    if context.retry_storage("the evaluation cannot start", partial(is_made, context)):
        add_to_list = partial(list_evaluation, storage, job.id, context.claim.fence)
        context.retry_storage("the evaluation cannot be listed", add_to_list)
        return
    device = find_device(settings.device)
    reset_threads()
    with tracing.span("load generator"):
        read = partial(read_generator, storage, order)
        manifest, weights = context.retry_storage("the evaluation cannot start", read)
    context.record(lambda: context.jobs.record_runtime(context.claim, job.config, describe(device)))
    with tracing.span("load data"):
        all_of_it = TrainingConfig(dataset=manifest.config.dataset)  # also if the run used a part
        data = load_data(context, all_of_it).to(device)
    generator = generator_from_bytes(weights, f"{manifest.draws} of {manifest.id}")
    names_of(manifest, generator.classes)
    report = Reporter(context)
    with tracing.span("load judge"):
        judge = find_judge(data, "reporting", settings.judges_dir, device, context.check)
    environment = ComputeEnvironment.current(device).model_dump_json()
    drawn = manifest.files[manifest.draws].sha256
    identity = f"{drawn} {data.checksum} {judge.checksum} {order.effort} {environment}"
    steps = StoredSteps(work_folder(context), identity)
    evaluator = Evaluator(data, judge, EFFORTS[order.effort], report, context.check, steps)
    is_known = known_real(evaluator, settings.judges_dir) is not None
    report.total = evaluator.step_count if is_known else 2 * evaluator.step_count + 2
    compute = partial(find_real, evaluator, settings.judges_dir)
    with tracing.span("evaluate"):
        real = context.retry_storage("figures cannot be kept", compute)
        examine = partial(evaluate, manifest.id, prepare(generator, device), evaluator, real)
        evaluation, neighbours = context.retry_storage("figures cannot be kept", examine)
    picture = draw_evaluation(evaluation, neighbours)
    context.check()
    publish = partial(publish_evaluation, storage, job.id, context.claim.fence, order.effort, evaluation, picture)
    with tracing.span("publish"):
        context.retry_storage("the evaluation cannot be stored", publish)
    report.finish()


def is_made(context: JobContext) -> bool:
    """Return whether the result is in the store and intact."""
    storage, job = context.storage.storage, context.job.id
    if not has_evaluation(storage, job):
        return False
    try:
        read_evaluation(storage, job)
    except (CheckpointDamaged, FileInvalid, FileNotFoundError) as error:
        logger.warning("job %s evaluates again, because its stored result cannot be used: %s", job, error)
        return False
    return True


def work_folder(context: JobContext) -> Path:
    """Return the local folder of finished steps. Those of an earlier attempt are still there."""
    return context.storage.storage.workshop(Folder(context.job.id, WORK))


def drop_steps(context: JobContext, status: JobStatus) -> None:
    """Delete the kept steps of an evaluation that has succeeded. After another end it can be resumed."""
    if status != JobStatus.SUCCEEDED:
        return
    try:
        context.storage.drop_work(context.job.id, context.claim.fence, WORK)
    except (OSError, FenceRejected) as error:
        logger.warning("job %s: its finished steps could not be deleted: %s", context.job.id, error)


class Reporter:
    """Records the progress in steps, twice a second at most."""

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.began = time.monotonic()
        self.done, self.total, self.saved = -1, 1, 0
        self.reported = 0.0

    def __call__(self, sentence: str) -> None:
        """Record that a step begins: the ones before it are done."""
        logger.info("job %s: %s", self.context.job.id, sentence)
        self.done += 1
        if time.monotonic() - self.reported >= REPORT_SECONDS:
            self.record(min(self.done, self.total - 1))

    def finish(self) -> None:
        self.record(self.total)

    def record(self, done: int) -> None:
        self.reported = time.monotonic()
        left = (self.reported - self.began) / done * (self.total - done) if done else 0.0
        self.context.report_items(done, self.total, 0.0, round(left, 1), done > self.saved)
        self.saved = max(done, self.saved)
