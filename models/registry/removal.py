"""Deletes the files of a job in the store: its checkpoints, state, data set, fence and entry."""

from collections.abc import Callable

from models.registry.storage.base import Folder
from models.registry.store import CheckpointStore


def delete_run(store: CheckpointStore, job: str, token: int = 0, check: Callable[[], None] = lambda: None) -> int:
    """Delete all files of a job, and reject workers that may still hold it. Returns the number of checkpoints.

    `token` is that of the job's last claim. `check` raises if the job must stay; while it runs, no checkpoint is
    published and no serving policy changed. The job disappears atomically, then its files are deleted. Raises what
    `check` raises, StoreReplaced and other OSErrors; the call can then be repeated.
    """

    def step() -> int:
        store.check_identity()
        check()
        count = len(store.epochs(job))
        store.hide_deleted(job, token)
        store.renew_pointer()
        return count

    count = store.storage.alone(step)
    store.storage.clear_job(job)
    return count


def delete_folder(store: CheckpointStore, folder: Folder, check: Callable[[], None] = lambda: None) -> None:
    """Delete one folder of a job, such as a checkpoint. Raises what `check` raises, and OSError."""

    def step() -> None:
        store.check_identity()
        check()
        store.storage.remove(folder)
        store.renew_pointer()

    store.storage.alone(step)
