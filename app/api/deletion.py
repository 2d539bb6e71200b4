"""Deletes jobs, checkpoints, generated data sets and training data, unless they are in use.

All processes that use the same store see a deletion at once; one that has the checkpoint's generator in memory drops it
within a second. A request that reads a deleted checkpoint at that moment gets 404 or 503, because every file is checked
against its manifest.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import anyio.to_thread

from app.inference.service import ModelManager
from models.errors import Conflict
from models.registry.removal import delete_folder, delete_run
from models.registry.serving_policy import pinned, read_choice
from models.registry.storage.base import Folder
from models.registry.store import DATASET, CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointNotUnderstood
from models.registry.training_data import TrainingDataNotFound, TrainingDataStore
from models.synthesis.shards import Shards
from worker.jobs.client import JobClient, JobNotFound
from worker.jobs.codec import AnyJob
from worker.jobs.listing import read_not_ended, read_users_of_training_data
from worker.jobs.model import ENDED, JobKind

logger = logging.getLogger(__name__)


class InUse(Conflict, code="in-use"):
    """The request would delete something in use. The message names the use and what to do."""


class Use(NamedTuple):
    """A reason not to delete. `folder` is that of a checkpoint or data set; None if it concerns the whole job."""

    job: str
    folder: str | None
    why: str

    def concerns(self, job: str, folder: str | None) -> bool:
        return self.job == job and (folder is None or self.folder in (None, folder))


def refuse_used(uses: list[Use], job: str, folder: str | None = None) -> None:
    """Raises InUse if one of the uses concerns the job, or the given folder of the job."""
    for use in uses:
        if use.concerns(job, folder):
            what = f"job {job} is kept: " if folder is None and use.folder else ""
            raise InUse(what + use.why)


# ----------------------------------------------------------------------------
# What is in use.


async def find_uses(model_manager: ModelManager, jobs: JobClient) -> list[Use]:
    """Return the uses of all jobs, checkpoints and data sets that are in use. Raises StoreUnavailable and OSError."""
    return await find_job_uses(jobs) + await anyio.to_thread.run_sync(find_store_uses, model_manager)


async def find_job_uses(jobs: JobClient) -> list[Use]:
    """Return the uses by jobs that have not ended, including jobs that this version does not understand."""
    uses: list[Use] = []
    for job_id in await read_not_ended(jobs.redis):
        with suppress(JobNotFound):  # it was deleted a moment ago
            job = await jobs.read(job_id)
            if job.status not in ENDED:
                uses += job_uses(job)
    return uses


def job_uses(job: AnyJob) -> Iterator[Use]:
    yield Use(job.id, None, f"job {job.id} is {job.status}: cancel it first, with POST /jobs/{job.id}/cancel")
    if job.needed_checkpoint is not None:
        with suppress(CheckpointNotFound):
            checkpoint = CheckpointId.parse(job.needed_checkpoint)
            is_evaluated = job.kind == JobKind.EVALUATION
            use = f"{checkpoint} is being evaluated by job {job.id}" if is_evaluated else drawn(job.id, checkpoint)
            yield Use(*checkpoint.folder, f"{use}: wait until it has ended, or cancel it first")


def drawn(job_id: str, checkpoint: CheckpointId) -> str:
    return f"data set {job_id} is being drawn with {checkpoint}"


def find_store_uses(model_manager: ModelManager) -> list[Use]:
    """Return the uses of checkpoints that are served, pinned, newest, being loaded or being read. Raises OSError."""
    store = model_manager.store
    dataset = model_manager.target.dataset
    uses = [
        (parsed(model_manager.serving), "is served: serve another checkpoint first, with PUT /serving"),
        (pinned(store, read_choice(store)), "is pinned: choose another first, with PUT /serving"),
        (pinned(store, model_manager.target.choice), "is pinned: choose another first, with PUT /serving"),
        (
            store.latest(dataset),
            f"is the newest of {dataset}: it can be deleted when another of {dataset} is published",
        ),
        *((checkpoint, "is being read: retry in a moment") for checkpoint in model_manager.loads.loading()),
    ]
    found = [Use(*checkpoint.folder, f"{checkpoint} {why}") for checkpoint, why in uses if checkpoint is not None]
    if model_manager.first is not None:
        found.insert(
            0, Use(model_manager.first.job, None, f"{model_manager.first} comes with the package and cannot be deleted")
        )
    for folder in list(store.being_read):
        name = f"data set {folder.job}" if folder.name == DATASET else f"{folder.job}-e{folder.name}"
        found.append(Use(*folder, f"{name} is being read or downloaded: retry in a moment"))
    return found


def parsed(checkpoint: str | None) -> CheckpointId | None:
    return None if checkpoint is None else CheckpointId.parse(checkpoint)


# ----------------------------------------------------------------------------
# Deletion. The uses in the store are checked again while no checkpoint can be published or chosen.


async def delete_job(model_manager: ModelManager, jobs: JobClient, job_id: str) -> int:
    """Delete a job that has ended, with all its files. Returns the number of deleted checkpoints.

    The record is marked, then the files are deleted, then the record. After an interruption the record still exists
    and reports it in `trouble`, and the call can be repeated. Raises InUse, JobNotFound, InvalidTransition,
    StoreUnavailable and OSError.
    """
    await jobs.read(job_id)
    refuse_used(await find_uses(model_manager, jobs), job_id)
    token = await jobs.begin_deletion(job_id)
    try:
        count = await anyio.to_thread.run_sync(
            delete_run, model_manager.store, job_id, token, check_of(model_manager, job_id)
        )
    except InUse:
        await jobs.keep_after_all(job_id)
        raise
    await jobs.end_deletion(job_id)
    model_manager.forget(job_id)
    return count


async def delete_checkpoint(model_manager: ModelManager, jobs: JobClient, checkpoint: CheckpointId) -> None:
    """Delete a checkpoint's files, even if they are damaged.

    Raises InUse, CheckpointNotFound, CheckpointNotUnderstood, StoreUnavailable and OSError.
    """
    uses = await find_uses(model_manager, jobs)
    refuse_used(
        [use for use in uses if use.job == (model_manager.first and model_manager.first.job)], *checkpoint.folder
    )
    await anyio.to_thread.run_sync(check_exists, model_manager, checkpoint)
    refuse_used(uses, *checkpoint.folder)
    check = check_of(model_manager, *checkpoint.folder)
    await anyio.to_thread.run_sync(delete_folder, model_manager.store, checkpoint.folder, check)
    model_manager.forget(checkpoint.job, checkpoint.epoch)


def check_exists(model_manager: ModelManager, checkpoint: CheckpointId) -> None:
    """Raises CheckpointNotFound, CheckpointNotUnderstood, and OSError if its manifest cannot be read."""
    try:
        model_manager.store.manifest(checkpoint)
    except CheckpointNotUnderstood:
        raise
    except (CheckpointDamaged, CheckpointNotFound):
        if not model_manager.store.stands(checkpoint):
            raise


async def delete_dataset(model_manager: ModelManager, jobs: JobClient, job_id: str) -> None:
    """Delete the files of a data set whose job has ended. Raises InUse, StoreUnavailable and OSError."""
    refuse_used(await find_uses(model_manager, jobs), job_id, DATASET)
    folder, check = Folder(job_id, DATASET), check_of(model_manager, job_id, DATASET)
    await anyio.to_thread.run_sync(delete_folder, model_manager.store, folder, check)
    await anyio.to_thread.run_sync(Shards(model_manager.store, job_id).clear)


async def delete_training_data(data: TrainingDataStore, jobs: JobClient, dataset: str) -> None:
    """Remove all versions of a name, or the one version that it names. If one is in use, none is removed.

    A run that is accepted between the check and the removal fails with a sentence. Raises InUse, InvalidName,
    NameReserved, TrainingDataNotFound, StoreUnavailable and OSError.
    """
    versions = await anyio.to_thread.run_sync(data.versions, dataset)
    for reference in versions:
        for job_id in await read_users_of_training_data(jobs.redis, reference):
            raise InUse(
                f"training data {reference} is needed by job {job_id}: wait until it has ended, or cancel it first, "
                f"with POST /jobs/{job_id}/cancel"
            )
    removed = 0
    for reference in versions:
        with suppress(TrainingDataNotFound):  # another request removed it a moment ago
            await anyio.to_thread.run_sync(data.remove, reference)
            removed += 1
    if not removed:
        raise TrainingDataNotFound(f"there is no training data {dataset}")


def check_of(model_manager: ModelManager, job: str, folder: str | None = None) -> Callable[[], None]:
    return lambda: refuse_used(find_store_uses(model_manager), job, folder)
