"""Makes training data from a file that a user sent: the job's result is a version in the store.

Another process reads the file (worker/importing). This module verifies the result of that process, and stores it.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from models.bounded_reading import FileFault
from models.data.building.built import Built
from models.data.building.order import TrainingDataOrder, TrainingDataResult
from models.registry.storage.base import Folder
from models.registry.storage.uploads import WORK, checksum_of, delete_upload, fetch_upload
from models.registry.store import FenceRejected
from models.registry.training_data import TrainingDataManifest
from worker.importing.process import ImportStillRuns, build_in_process
from worker.importing.program import Request
from worker.importing.resource_limits import ResourceLimits
from worker.jobs.model import JobStatus
from worker.lifecycle.context import JobContext
from worker.observability import tracing

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.5  # between two reports of the progress


def make_training_data(context: JobContext) -> None:
    """Read the file of the job in a process of its own, and store the training data that it makes of it.

    Raises LeaseLost, Cancelled and Interrupted within a second: a worker of this machine, or of one that shares the
    store's folder, continues with the pictures that are decoded. Raises ImportRefused, ImportFailed, FileMissing,
    FileDamaged, and other OSErrors.
    """
    context.check()
    job, order = context.job, context.job.training_data
    assert order is not None
    work = work_folder(context)
    context.record(lambda: context.jobs.record_runtime(context.claim, job.config, "cpu"))
    with tracing.span("fetch file"):
        source = context.retry_storage("the file cannot be fetched", partial(fetch, context, order, work))
    with tracing.span("build training data"):
        built, preview = context.retry_storage(
            "the training data cannot be built", partial(build, context, order, source, work)
        )
    context.check()
    with tracing.span("publish"):
        publish = partial(publish_held, context, order, built, preview)
        manifest, is_new = context.retry_storage("the training data cannot be stored", publish)
    record(context, manifest, is_new)


def work_folder(context: JobContext) -> Path:
    """Return the local folder of the job's unfinished files. Those of an earlier attempt are still there."""
    return context.storage.storage.workshop(Folder(context.job.id, WORK))


def fetch(context: JobContext, order: TrainingDataOrder, work: Path) -> Path:
    """Return the file, copied to this machine unless it is already there. Raises FileMissing, FileDamaged, OSError."""
    folder = work / "source"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / order.file
    if not path.is_file() or checksum_of(path) != (order.size, order.sha256):
        fetch_upload(context.storage.storage, context.job.id, order, path, context.check)
    return path


def build(context: JobContext, order: TrainingDataOrder, source: Path, work: Path) -> tuple[Built, bytes]:
    """Raises ImportRefused, ImportFailed, what `context.check` raises, and OSError if the disk is full."""
    name = f"build-{context.claim.fence}"
    request = Request(
        source=source,
        identity=order.sha256,
        options=order.options,
        work=work / "parts",
        result=work / name / "result",
        limits=ResourceLimits(),
    )
    report = Reporter(context)
    try:
        return build_in_process(request, report, context.check)
    except ImportStillRuns:  # of a worker that was lost and still runs: its parts are not shared
        apart = request.model_copy(update={"work": work / name / "parts"})
        return build_in_process(apart, report, context.check)


def publish_held(
    context: JobContext, order: TrainingDataOrder, built: Built, preview: bytes
) -> tuple[TrainingDataManifest, bool]:
    """Store the training data, unless this worker has lost the job.

    Raises FenceRejected, OSError, and what `context.check` raises.
    """
    storage, job, fence = context.storage, context.job.id, context.claim.fence

    def check() -> None:
        context.check()
        storage.check_held(job, fence)

    return storage.training_data.publish(order.name, built, preview, check)


def record(context: JobContext, manifest: TrainingDataManifest, is_new: bool) -> None:
    result = TrainingDataResult(
        dataset=str(manifest.reference),
        is_new=is_new,
        classes=manifest.classes,
        train_images=sum(manifest.train_counts),
        test_images=sum(manifest.test_counts),
    )
    for warning in manifest.warnings:
        context.record(partial(context.jobs.add_warning, context.claim, warning))
    context.record(lambda: context.jobs.record_result(context.claim, result))
    logger.info("job %s made the training data %s", context.job.id, result.dataset)


def drop_upload(context: JobContext, status: JobStatus) -> None:
    """Delete the unfinished files of a job that has ended, and the file that it read if it has succeeded.

    After a failure the file stays, so that the job can be resumed. All files stay if another worker runs it already.
    """
    storage, job, fence = context.storage, context.job.id, context.claim.fence

    def is_held() -> bool:
        storage.check_held(job, fence)
        return True

    try:
        storage.drop_work(job, fence, WORK)
        if status == JobStatus.SUCCEEDED:
            delete_upload(storage.storage, job, is_held)
    except (OSError, FileFault, FenceRejected) as error:
        logger.warning("job %s: the file that it has read could not be deleted: %s", context.job.id, error)


class Reporter:
    """Records the progress in pictures, twice a second at most."""

    def __init__(self, context: JobContext, clock: Callable[[], float] = time.monotonic) -> None:
        self.context = context
        self.clock = clock
        self.first: tuple[float, int] | None = None  # when this process began, and the pictures of earlier ones
        self.reported = 0.0
        self.saved = saved_pictures(context.claim.saved)

    def __call__(self, done: int, total: int | None) -> None:
        now = self.clock()
        if self.first is None:
            self.first = (now, done)
        if now - self.reported < REPORT_SECONDS and done != total:
            return
        self.reported = now
        began, before = self.first
        rate = (done - before) / max(1e-3, now - began)
        left = ((total or done) - done) / rate if rate else 0.0
        self.context.report_items(done, total or done, rate, left, done > self.saved)
        self.saved = max(done, self.saved)


def saved_pictures(saved: str) -> int:
    """Return the number of pictures in the record's position, such as `1:512`; 0 if it has none."""
    number = saved.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0
