"""Helpers for tests of a store: claims and publications of tiny checkpoints."""

import errno
import json
import time
from contextlib import suppress
from pathlib import Path

from models.config import TrainingConfig
from models.registry.job_entry import fingerprint
from models.registry.serving_policy import Judged, find_best
from models.registry.store import MANIFEST, CheckpointId, CheckpointStore, Manifest
from tests.models.registry.test_store import FILES, damage_inside, inside
from tests.support import records

EARLY, LATE, AHEAD = "20260101-000000-aaaaaa", "20260102-000000-aaaaaa", "20360101-000000-aaaaaa"


def publish(store: CheckpointStore, job: str, epoch: int, fence: int = 0) -> Manifest:
    return store.publish(records.manifest(job, epoch, fence=fence), FILES)


def run(store: CheckpointStore, job: str, fence: int, *epochs: int) -> None:
    """Claim a job and publish some of its epochs."""
    store.take(job, fence, fingerprint(TrainingConfig()))
    for epoch in epochs:
        publish(store, job, epoch, fence)


def put_back(root: Path, away: Path) -> None:
    """Rename a store that was away to its place `root`. What a worker creates there meanwhile is moved aside."""
    for _ in range(100):
        with suppress(FileNotFoundError):
            root.rename(root.with_name(f"{root.name}-aside-{time.monotonic_ns()}"))
        try:
            away.rename(root)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
    raise TimeoutError(f"{root} is created again after each removal")


def whole(store: CheckpointStore, checkpoint: CheckpointId) -> bool:
    manifest = store.manifest(checkpoint)
    return {name: store.read(manifest, name) for name in manifest.files} == FILES


def of_a_newer_version(store: CheckpointStore, job: str, epoch: int) -> bytes:
    """Write a recipe into the manifest that this version does not know."""
    path = f"{job}/{epoch:03d}/{MANIFEST}"
    fields = json.loads(inside(store, path))
    fields["config"]["recipe"] = "diffusion"
    fields.pop("checksum")
    data = json.dumps(fields).encode()
    damage_inside(store, path, data)
    return data


def best(store: CheckpointStore, dataset: str, by: Judged = "epoch") -> CheckpointId | None:
    """Return the best checkpoint of a data set. Raises FileInvalid, OSError."""
    found = find_best(store, dataset, by)
    return found and found.checkpoint
