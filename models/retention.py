"""A budget of bytes for checkpoints: beyond it the oldest runs are thinned to the epoch they ended with."""

import time
from itertools import groupby

from models.checkpoints import CheckpointStore, Manifest
from models.serving import best, pinned, read_choice

GRACE_SECONDS = 600  # a checkpoint this young may just be being read


def thin_out(store: CheckpointStore, limit: int) -> list[str]:
    """Delete checkpoints, oldest run first, until all together take at most `limit` bytes or nothing may go.

    The last epoch of every run stays, and so do what is served, what `latest` names and the
    best. Returns the ids of what went.
    """
    manifests = store.manifests()
    kept = {store.latest(), best(store), pinned(store, read_choice(store))}
    total = sum(manifest.total_size for manifest in manifests)
    deleted: list[str] = []
    for _job, run in groupby(manifests, key=lambda manifest: manifest.job):
        for manifest in list(run)[:-1]:
            if total <= limit:
                return deleted
            if manifest.checkpoint not in kept and _is_old(manifest):
                store.shelf.remove(manifest.checkpoint.folder)
                deleted.append(manifest.id)
                total -= manifest.total_size
    return deleted


def _is_old(manifest: Manifest) -> bool:
    return time.time() - manifest.created_at.timestamp() > GRACE_SECONDS
