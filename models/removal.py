"""Deletes everything that a job has left in the store: its checkpoints, its state, its data set."""

from models.checkpoints import CheckpointStore


def delete_run(store: CheckpointStore, job: str) -> int:
    """Delete what the job left. Returns the number of checkpoints. Raises OSError; it can then be repeated."""
    folders = store.shelf.folders(job)
    for folder in folders:
        store.shelf.remove(folder)
    store.drop_state(job)
    store.shelf.sweep(job)
    return sum(folder.name.isdecimal() for folder in folders)
