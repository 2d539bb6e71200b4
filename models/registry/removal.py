"""Deletes what a job has left in the store: its checkpoints, its state, its data set, its fence and its entry."""

from collections.abc import Callable

from models.registry.storage.base import Folder
from models.registry.store import CheckpointStore


def delete_run(store: CheckpointStore, job: str, token: int = 0, check: Callable[[], None] = lambda: None) -> int:
    """Delete everything of a job, and reject the workers that may still hold it. Returns the number of checkpoints.

    `token` is that of the job's last claim. `check` raises if the job must stay; while it runs, nothing is published
    or chosen. All of the job disappears in one step, then its files are deleted. Raises what `check` raises,
    StoreReplaced and other OSErrors; the call can then be repeated.
    """

    def step() -> int:
        store.check_identity()
        check()
        count = len(store.epochs(job))
        store.hide_deleted(job, token)
        return count

    count = store.shelf.alone(step)
    store.shelf.clear_job(job)
    return count


def delete_folder(store: CheckpointStore, folder: Folder, check: Callable[[], None] = lambda: None) -> None:
    """Delete one folder of a job, as a checkpoint's. Raises what `check` raises, and OSError."""

    def step() -> None:
        store.check_identity()
        check()
        store.shelf.remove(folder)

    store.shelf.alone(step)
