"""An idle worker draws parts of another worker's data set, until a job waits for it or no part is left."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import redis
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from models.devices import DeviceUnavailable
from models.errors import TrainingFailed
from models.networks.weights import InvalidWeights
from models.registry.store import CheckpointDamaged, CheckpointNotFound, CheckpointStore
from models.synthesis.builder import pack_part
from models.synthesis.shards import Contributions
from models.torch_device import describe, find_device
from models.version import code_version
from worker.handlers.dataset_drawing import drawing, read_generator
from worker.handlers.sharing import Shared, Sharing
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import RunsOn
from worker.lifecycle import shutdown
from worker.lifecycle.lease import EXIT_CODE, STALLED_SECONDS
from worker.observability import metrics
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

TROUBLES = (  # their messages suffice; the owner has the same error, or draws these parts
    CheckpointDamaged,
    CheckpointNotFound,
    DeviceUnavailable,
    TrainingFailed,
    InvalidWeights,
    OSError,
    ValidationError,
    redis.RedisError,
)


@dataclass(frozen=True)
class Helper:
    consumer: JobConsumer
    store: CheckpointStore
    settings: WorkerSettings
    takes: Sequence[RunsOn]  # queues of this worker: it helps only with their data sets
    notify_workers: Callable[[RunsOn], None]  # notifies the next idle worker
    end_process: Callable[[int], None] = os._exit

    def help(self) -> bool:
        """Draw parts for an owner that accepts helpers. Returns whether any were drawn; a job may wait by then.

        Raises Interrupted. Other errors are logged and only end this help.
        """
        try:
            sharing = Sharing(self.consumer.redis)
            shared = sharing.find(self.takes)
            if shared is None:
                return False
            with bound_contextvars(job=shared.job, fence=shared.fence):
                return self.draw_for(shared, sharing) > 0
        except shutdown.Interrupted:
            raise
        except TROUBLES as trouble:
            logger.warning("stops helping with a data set: %s", trouble)
        except Exception:
            logger.exception("stops helping with a data set")
        return False

    def draw_for(self, shared: Shared, sharing: Sharing) -> int:
        """Draw parts of a data set. Returns their number."""
        order, contributions = shared.read_order(), Contributions(self.store, shared.job)
        if shared.code != code_version() or not contributions.reach(shared.fence):
            logger.info("cannot help with data set %s: its owner has another version or another store", shared.job)
            return 0
        device, drawn, seconds = find_device(self.settings.device), 0, self.settings.lease_seconds
        parts, name = {part.name: part for part in order.parts}, describe(device)
        with drawing(order, *read_generator(self.store, order), device) as draw:
            while (taken := self.take(shared, sharing, seconds)) is not None:
                if drawn == 0:
                    logger.info("helping with data set %s", shared.job)
                    self.call_another(shared, sharing)
                part, begun = parts[taken], time.monotonic()
                try:
                    with self.watched():
                        contributions.leave(part, pack_part(*draw(part.n, part.first)))
                except BaseException:
                    with contextlib.suppress(redis.RedisError):
                        sharing.give_back(shared, taken)
                    raise
                if not sharing.hand_over(shared, taken, name):
                    contributions.drop(taken)
                    break
                metrics.tell(metrics.PARTS_HELPED)
                drawn, seconds = drawn + 1, max(seconds, 3 * (time.monotonic() - begun))
        logger.info("helped with %d parts of data set %s", drawn, shared.job)
        return drawn

    def take(self, shared: Shared, sharing: Sharing, seconds: float) -> str | None:
        """Take a part, unless a job waits for this worker. Raises Interrupted."""
        shutdown.check()
        waiting = any(self.consumer.waiting(runs_on) for runs_on in self.takes)
        return None if waiting else sharing.take(shared, seconds)

    def call_another(self, shared: Shared, sharing: Sharing) -> None:
        """Notify one more idle worker if a part is left for it."""
        if sharing.find([shared.runs_on]) and not self.consumer.notifications(shared.runs_on):
            with contextlib.suppress(OperationalError):
                self.notify_workers(shared.runs_on)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """End the process if drawing hangs: a helper has no lease that would do this, and jobs may wait for it."""
        timer = threading.Timer(STALLED_SECONDS, self.end_process, (EXIT_CODE,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
