"""Keeps the storage within ACGAN_STORE_LIMIT, and this machine free of the unfinished work of ended jobs."""

import logging
from contextlib import suppress
from functools import partial

from models.registry.retention import Uses, apply_retention
from models.registry.store import CheckpointId, CheckpointNotFound
from worker.jobs.codec import ORDER_FIELDS, checkpoint_named
from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable, store_errors
from worker.jobs.keys import job_key
from worker.jobs.listing import not_ended
from worker.jobs.model import ENDED
from worker.lifecycle.context import JobContext
from worker.lifecycle.workshops import clear_workshops

logger = logging.getLogger(__name__)


def checkpoints_among(texts: list[str]) -> list[CheckpointId]:
    """Return those of the texts that are ids of checkpoints."""
    found = []
    for text in texts:
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
        limit, note = context.settings.store_limit, partial(note_deleted, context.jobs)
        apply_retention(context.storage, limit, unfinished, has_record, uses, note)
    except (OSError, StoreUnavailable) as error:  # not a reason to fail the job
        logger.warning("checkpoints beyond ACGAN_STORE_LIMIT could not be deleted: %s", error)


def note_deleted(jobs: JobConsumer, name: str) -> None:
    """Log a deletion. That of a checkpoint is recorded, so that its run does not report it as missing."""
    logger.info("deleted %s to stay within ACGAN_STORE_LIMIT", name)
    jobs.note_thinned(checkpoints_among([name]))


def has_ended(jobs: JobConsumer, job_id: str) -> bool:
    """Return whether a job has ended, or has no record. Raises StoreUnavailable."""
    status = jobs.status(job_id)
    return status is None or status in ENDED


@store_errors()
def needed_checkpoints(jobs: JobConsumer) -> set[CheckpointId]:
    """Return the checkpoints that jobs which have not ended draw with or evaluate. Raises StoreUnavailable."""
    with jobs.redis.pipeline(transaction=False) as pipeline:
        for job_id in not_ended(jobs.redis):
            pipeline.hmget(job_key(job_id), *ORDER_FIELDS)
        records: list[list[str | None]] = pipeline.execute()
    return set(checkpoints_among([named for orders in records if (named := checkpoint_named(orders)) is not None]))
