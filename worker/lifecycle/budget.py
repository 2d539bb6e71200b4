"""Keeps the storage within ACGAN_STORE_LIMIT, and this machine free of the unfinished work of ended jobs."""

import json
import logging
from contextlib import suppress
from functools import partial

from models.registry.retention import Uses, apply_retention
from models.registry.store import CheckpointId, CheckpointNotFound
from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable, store_errors
from worker.jobs.keys import job_key
from worker.jobs.listing import not_ended
from worker.jobs.model import ENDED, ORDERED
from worker.lifecycle.context import JobContext
from worker.lifecycle.workshops import clear_workshops

logger = logging.getLogger(__name__)

ORDERS = [ordered.field for ordered in ORDERED.values()]  # fields of a record that may name a checkpoint


def checkpoints_among(deleted: list[str]) -> list[CheckpointId]:
    """Return the texts that are checkpoint ids. The others describe resume states."""
    found = []
    for text in deleted:
        with suppress(CheckpointNotFound):
            found.append(CheckpointId.parse(text))
    return found


def keep_within_budget(context: JobContext) -> None:
    """Delete what exceeds the budget, in the order of models/registry/retention.py, and local work that no job needs.

    Logs errors.
    """
    try:
        clear_workshops(context.settings, context.jobs)
        unfinished, has_record = not_ended(context.jobs.redis), context.jobs.has_record
        uses = Uses(partial(has_ended, context.jobs), partial(needed_checkpoints, context.jobs))
        deleted = apply_retention(context.storage, context.settings.store_limit, unfinished, has_record, uses)
        for name in deleted:
            logger.info("deleted %s to stay within ACGAN_STORE_LIMIT", name)
        context.jobs.note_thinned(checkpoints_among(deleted))
    except (OSError, StoreUnavailable) as error:  # not a reason to fail the job
        logger.warning("checkpoints beyond ACGAN_STORE_LIMIT could not be deleted: %s", error)


def has_ended(jobs: JobConsumer, job_id: str) -> bool:
    """Return whether a job has ended, or has no record. Raises StoreUnavailable."""
    status = jobs.status(job_id)
    return status is None or status in ENDED


@store_errors()
def needed_checkpoints(jobs: JobConsumer) -> set[CheckpointId]:
    """Return the checkpoints that jobs which have not ended draw with or evaluate. Raises StoreUnavailable.

    Also those of orders that this version does not understand, as in `needed_checkpoint` of app/api/deletion.py, which
    protects them from requests.
    """
    with jobs.redis.pipeline(transaction=False) as pipeline:
        for job_id in not_ended(jobs.redis):
            pipeline.hmget(job_key(job_id), *ORDERS)
        records: list[list[str | None]] = pipeline.execute()
    return {checkpoint for orders in records for order in orders if (checkpoint := checkpoint_of(order)) is not None}


def checkpoint_of(order: str | None) -> CheckpointId | None:
    """Return the checkpoint that an order names, which is JSON; None if it names none."""
    with suppress(ValueError, CheckpointNotFound):
        found = json.loads(order or "null")
        named = found.get("checkpoint") if isinstance(found, dict) else None
        return CheckpointId.parse(named) if isinstance(named, str) else None
    return None
