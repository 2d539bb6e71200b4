"""Deletes a checkpoint that nothing needs any more, and says what still needs one."""

import anyio.to_thread

from app.serving.gallery import Gallery
from models.checkpoints import CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointNotUnderstood
from models.serving import pinned, read_choice
from worker.jobs import Job


class CheckpointInUse(Exception):
    """The checkpoint is served, pinned, newest, or needed by a job. The message says which, and what to do."""


async def delete_checkpoint(gallery: Gallery, checkpoint: CheckpointId, unfinished: list[Job]) -> None:
    """Delete a checkpoint's files. `unfinished` are the jobs that have not ended.

    Raises CheckpointNotFound, CheckpointInUse, CheckpointNotUnderstood, BadRecord and OSError.
    """
    for job in unfinished:
        if job.id == checkpoint.job:
            raise CheckpointInUse(f"job {job.id} of {checkpoint} is {job.status}: cancel it first")
        if job.order is not None and job.order.checkpoint == str(checkpoint):
            raise CheckpointInUse(f"data set {job.id} is drawn by {checkpoint}: wait for it, or cancel it first")
    await anyio.to_thread.run_sync(_delete, gallery, checkpoint)


def _delete(gallery: Gallery, checkpoint: CheckpointId) -> None:
    if checkpoint == gallery.first:
        raise CheckpointInUse(f"{checkpoint} comes with the package and cannot be deleted")
    try:
        gallery.store.manifest(checkpoint)
    except CheckpointNotUnderstood:
        raise
    except (CheckpointDamaged, CheckpointNotFound):
        if not gallery.store.stands(checkpoint):
            raise
    if gallery.serving == str(checkpoint):
        raise CheckpointInUse(f"{checkpoint} is served: pin another first, with PUT /serving")
    if checkpoint == pinned(gallery.store, read_choice(gallery.store)):
        raise CheckpointInUse(f"{checkpoint} is pinned: choose another first, with PUT /serving")
    if checkpoint == gallery.store.latest():
        raise CheckpointInUse(f"{checkpoint} is the newest: it can be deleted when another is published")
    if gallery.loads.is_loading(checkpoint) or checkpoint in gallery.store.being_read:
        raise CheckpointInUse(f"{checkpoint} is being read: retry in a moment")
    gallery.store.shelf.remove(checkpoint.folder)
    gallery.forget(checkpoint)
