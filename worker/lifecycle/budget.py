"""Keeps the storage within ACGAN_STORE_LIMIT."""

import logging
from contextlib import suppress

from models.registry.retention import apply_retention
from models.registry.store import CheckpointId, CheckpointNotFound
from worker.jobs.errors import StoreUnavailable
from worker.jobs.listing import not_ended
from worker.lifecycle.context import JobContext

logger = logging.getLogger(__name__)


def checkpoints_among(deleted: list[str]) -> list[CheckpointId]:
    """Return the texts that are checkpoint ids. The others describe resume states."""
    found = []
    for text in deleted:
        with suppress(CheckpointNotFound):
            found.append(CheckpointId.parse(text))
    return found


def keep_within_budget(context: JobContext) -> None:
    """Delete what exceeds the budget, in the order of models/registry/retention.py. Logs errors."""
    try:
        unfinished, has_record = not_ended(context.jobs.redis), context.jobs.has_record
        deleted = apply_retention(context.storage, context.settings.store_limit, unfinished, has_record)
        for name in deleted:
            logger.info("deleted %s to stay within ACGAN_STORE_LIMIT", name)
        context.jobs.note_thinned(checkpoints_among(deleted))
    except (OSError, StoreUnavailable) as error:  # not a reason to fail the job
        logger.warning("checkpoints beyond ACGAN_STORE_LIMIT could not be deleted: %s", error)
