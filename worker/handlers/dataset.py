"""Makes a generated data set: the job's result is files of digits."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from kombu.exceptions import OperationalError

from models.registry.store import FenceRejected
from models.synthesis.builder import make
from models.synthesis.dataset_integrity import damage_in_store, discard_damaged
from models.synthesis.order import DatasetOrder, Part, Provenance
from models.synthesis.shards import Shards
from models.torch_device import describe, find_device
from models.version import code_version
from worker.celery_app import ShardMessage
from worker.handlers.dataset_drawing import drawing, names_of, prepare_generator, read_generator
from worker.jobs.model import JobStatus
from worker.lifecycle.context import JobContext
from worker.lifecycle.retry import pause
from worker.observability import tracing

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
WORTH_HELP = 4  # missing parts; fewer are drawn before other workers have started
Result = TypeVar("Result")


def make_dataset(context: JobContext) -> None:
    """Draw the parts of the data set that are missing, one at a time, while other workers draw shards.

    Raises LeaseLost, Cancelled and Interrupted between two parts, and keeps those that are drawn; CheckpointNotFound,
    CheckpointDamaged, InvalidWeights, TrainingFailed, and OSError.
    """
    context.check()
    job, order, storage = context.job, context.job.order, context.storage
    assert order is not None
    shards, workshop = Shards(storage, job.id), storage.dataset_workshop(job.id)
    if context.retry_storage("the data set cannot be started", lambda: is_made(context)):
        return
    device = find_device(context.settings.device)
    read = partial(read_generator, storage, order)
    with tracing.span("load generator"):
        manifest, weights = context.retry_storage("the data set cannot be started", read)
    sha256, version = manifest.files[manifest.draws].sha256, code_version()
    origin = Provenance(generator_sha256=sha256, device=describe(device), code_version=version)
    discard_damaged(workshop)
    context.record(lambda: context.jobs.record_runtime(context.claim, job.config, origin.device))
    generator = prepare_generator(weights, device)
    classes = names_of(manifest, generator.classes)
    share = Share(shards, workshop, origin, partial(send_shards, context, order, origin), context.check)
    report = reporter(context, sum(part.digits for part in order.parts_of(len(classes))))

    def place(write: Callable[[], None]) -> None:
        held = partial(storage.write_held, job.id, context.claim.fence, write)
        context.retry_storage("the data set cannot be published", held)

    with drawing(order, manifest, generator, device) as draw:
        for done in make(workshop, order, origin, tracing.traced("draw part", draw), share, place, classes):
            report(done)
            context.check()
    publish = partial(storage.publish_dataset, job.id, context.claim.fence, context.check)
    with tracing.span("publish"):
        context.retry_storage("the data set cannot be published", publish)


@dataclass(frozen=True)
class Share:
    """Decides which part this worker draws next: the last one that is missing. Other workers begin at the first.

    Their help is optional: if Redis or the store does not respond, this worker draws all parts.
    """

    shards: Shards
    workshop: Path
    origin: Provenance
    send: Callable[[Iterable[Part]], None]
    check: Callable[[], None]

    def __call__(self, missing: list[Part]) -> Iterator[Part]:
        """Yield each part once. The caller draws it, unless its file is already in the workshop."""
        left = {part.name: part for part in missing}
        yield from self.fetch(left)
        if len(left) >= WORTH_HELP:
            attempt(self.shards.job, "other workers cannot be asked to draw parts", lambda: self.send(left.values()))
        is_helped = False
        while left:
            began = time.monotonic()
            yield left.popitem()[1]
            took, before = time.monotonic() - began, len(left)
            yield from self.fetch(left)
            is_helped = is_helped or len(left) < before
            if is_helped and len(left) == 1:  # another worker probably draws it now
                yield from self.wait(left, took)

    def wait(self, left: dict[str, Part], seconds: float) -> Iterator[Part]:
        """Wait for shards no longer than drawing one takes. Yields their parts."""
        until = time.monotonic() + seconds
        while left and time.monotonic() < until:
            pause(POLL_SECONDS, self.check)
            yield from self.fetch(left)

    def fetch(self, left: dict[str, Part]) -> Iterator[Part]:
        """Copy the shards that are stored and intact into the workshop. Yields their parts, removed from `left`."""
        stored = attempt(self.shards.job, "shards cannot be listed", self.shards.names) or set()
        for name in sorted(stored & left.keys()):
            get = partial(self.shards.fetch, left[name], self.workshop, self.origin)
            if attempt(self.shards.job, f"shard {name} cannot be fetched", get):
                yield left.pop(name)
            else:
                logger.warning("job %s: shard %s is damaged, or another generator drew it", self.shards.job, name)


def drop_shards(context: JobContext, _status: JobStatus) -> None:
    """Delete the shards of a data set that has ended: other workers stored shards until the record showed the end."""
    try:
        Shards(context.storage, context.job.id).clear(context.claim.fence)
    except (OSError, FenceRejected) as error:
        logger.warning("job %s: leftover shards could not be deleted: %s", context.job.id, error)


def send_shards(context: JobContext, order: DatasetOrder, origin: Provenance, parts: Iterable[Part]) -> None:
    """Ask other workers to draw these parts. Raises OperationalError."""
    numbers = {part.name: number for number, part in enumerate(order.parts)}
    for part in parts:
        made_by = origin.generator_sha256, origin.code_version, origin.device_type
        context.send_shard(ShardMessage(context.job.id, numbers[part.name], context.claim.fence, *made_by))


def attempt(job: str, trouble: str, step: Callable[[], Result]) -> Result | None:
    """Run a step that involves other workers. If it fails, log this and return None."""
    try:
        return step()
    except (OperationalError, OSError) as error:
        logger.warning("job %s: %s: %s", job, trouble, error)
        return None


def is_made(context: JobContext) -> bool:
    """Return whether the data set is in the store and intact. Delete a damaged data set, so that it is made again.

    Raises FileNotUnderstood if another version wrote its manifest, FenceRejected, and other OSErrors.
    """
    job, store = context.job.id, context.storage
    if not store.has_dataset(job):
        return False
    damage = damage_in_store(store, job)
    if damage is None:
        return True
    logger.warning("job %s: the data set is made again: %s", job, damage)
    store.write_held(job, context.claim.fence, lambda: store.delete_dataset(job))
    return False


def reporter(context: JobContext, digits: int) -> Callable[[int], None]:
    """Return a function that records the progress in digits after each part."""
    began, first = time.monotonic(), 0

    def report(done: int) -> None:
        nonlocal first
        # Excludes parts of earlier claims and the first part, because their drawing time is unknown.
        first = first or done
        rate = (done - first) / max(1e-3, time.monotonic() - began)
        left = (digits - done) / rate if rate else 0.0
        context.report_items(done, digits, rate, left)

    return report
