"""Draws one part of a data set that another worker makes: the work of one Celery message.

A message does nothing if the job does not run under its token, if the part is already stored, or if this worker would
draw other bytes. If the message is lost or fails, the owner of the job draws the part.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from structlog.contextvars import bound_contextvars

from models import torch_device
from models.errors import AcganError
from models.networks.inference import FoldedGenerator
from models.registry.store import FenceRejected
from models.synthesis.builder import pack_part
from models.synthesis.order import Provenance
from models.synthesis.shards import Shards
from models.torch_device import describe, find_device
from models.version import code_version
from worker.celery_app import ShardMessage
from worker.handlers.dataset_drawing import drawing, prepare_generator, read_generator
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import Job
from worker.lifecycle import shutdown
from worker.lifecycle.device_use import DeviceUse
from worker.observability import metrics, tracing
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

FAILURES = (AcganError, FenceRejected, OSError)  # the owner has the same error, or draws the part

_prepared: dict[tuple[str, torch.device], FoldedGenerator] = {}  # the generator of the last shard


def draw_shard(
    settings: WorkerSettings,
    message: ShardMessage,
    traceparent: str = "",
    end_process: Callable[[int], None] = os._exit,
) -> None:
    """Draw the part of a message and store it, if its job wants it. Logs errors that the owner handles.

    `traceparent` is the context of the owner's trace. `end_process` ends this process with an exit code; it is called
    at the end if this process can no longer use its device.
    """
    consumer, use = JobConsumer.connect(settings.redis_url), DeviceUse(end_process)
    try:
        with bound_contextvars(job=message.job, fence=message.fence):
            shutdown.check()
            job = consumer.running(message.job, message.fence)
            if job is None:
                return
            attributes: tracing.Attributes = {tracing.JOB: job.id, tracing.PART: message.number}
            with tracing.span("draw shard", attributes, traceparent):
                if _draw(settings, message, job, consumer):
                    metrics.tell(metrics.PARTS_HELPED)
                    logger.info("helping with data set %s: part %d is drawn", message.job, message.number)
    except shutdown.Interrupted:
        logger.info("part %d of data set %s is not drawn: this worker is shutting down", message.number, message.job)
    except FAILURES as error:
        logger.warning("part %d of data set %s is not drawn: %s", message.number, message.job, error)
    except Exception as error:  # for example, too little memory on the device: the owner draws the part
        use.note(error)
        logger.exception("part %d of data set %s is not drawn", message.number, message.job)
    finally:
        consumer.close()
        use.end(partial(_free_cache, settings))


def _free_cache(settings: WorkerSettings) -> None:
    with suppress(AcganError):
        torch_device.free_cache(find_device(settings.device))


def _draw(settings: WorkerSettings, message: ShardMessage, job: Job, consumer: JobConsumer) -> bool:
    """Returns whether the shard is stored. Raises FAILURES."""
    device, order, store = find_device(settings.device), job.order, settings.open_store()
    shards = Shards(store, job.id)
    if order is None or not shards.reach(message.fence):
        logger.info("cannot help with data set %s: its owner uses another store", job.id)
        return False
    if order.parts[message.number].name in shards.names():
        return False
    manifest, weights = read_generator(store, order)
    origin = Provenance(
        generator_sha256=manifest.files[manifest.draws].sha256,
        device=describe(device),
        helpers={describe(device): 1},
        code_version=code_version(),
    )
    if not origin.draws_like(message.origin):
        logger.info("cannot help with data set %s: its owner has another version, generator or device", job.id)
        return False
    generator = _generator(origin.generator_sha256, weights, device)
    part = order.parts_of(generator.classes)[message.number]
    with drawing(order, manifest, generator, device) as draw:
        data = pack_part(origin, *draw(part.n, part.first))
    return shards.write(part, data, message.fence, lambda: consumer.running(job.id, message.fence) is not None)


def _generator(sha256: str, weights: bytes, device: torch.device) -> FoldedGenerator:
    """Prepare a generator, or reuse that of the last shard. Raises InvalidWeights."""
    key = sha256, device
    if key not in _prepared:
        _prepared.clear()
        _prepared[key] = prepare_generator(weights, device)
    return _prepared[key]
