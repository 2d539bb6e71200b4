"""Five invariants of the whole service, checked after every fault test and at the end of the soak.

a  every checkpoint that a record names exists, and each of its files verifies
b  what is served is the newest accepted checkpoint that may be served, or `trouble` says why not
c  `trouble` is null only if nothing is wrong
d  what was served stays served
e  every accepted job ends with the result of its own config
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from models.checkpoints import CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointStore, Manifest
from models.job_entry import fingerprint
from models.pointer import newest
from worker.jobs import Job, JobStatus


class Serving(NamedTuple):
    """What the API says: `/readyz` and `/serving`."""

    served: str | None
    trouble: str | None
    policy: str = "newest"

    @classmethod
    def of(cls, readiness: dict[str, Any], choice: dict[str, Any]) -> "Serving":
        return cls(readiness["serving"], readiness["trouble"], choice["policy"])


def violations(
    store: CheckpointStore, jobs: Sequence[Job], serving: Serving | None = None, served_before: Sequence[str] = ()
) -> list[str]:
    """Return one sentence for each violation. `served_before` is what was served, oldest first."""
    found = [violation for job in jobs for violation in of_job(store, job)]
    if serving is not None:
        found += of_serving(store, serving) + of_what_was_served(store, serving, served_before)
    return found


def of_job(store: CheckpointStore, job: Job) -> list[str]:
    """a, c and e for one job. A trouble in the record excuses what is missing, and nothing that is wrong."""
    found = []
    for epoch in job.epochs:
        try:
            manifest = verified(store, CheckpointId.parse(epoch.checkpoint))
        except (CheckpointNotFound, CheckpointDamaged) as error:
            if job.trouble is None:
                found.append(f"a, c: job {job.id} names {epoch.checkpoint}, trouble is null, and: {error}")
            continue
        if (manifest.job, manifest.epoch) != (job.id, epoch.epoch):
            found.append(f"e: epoch {epoch.epoch} of job {job.id} names {manifest.id}")
        if fingerprint(manifest.config) != fingerprint(job.config):
            found.append(f"e: {manifest.id} has another config than job {job.id}")
        if manifest.losses != epoch.losses:
            found.append(f"e: {manifest.id} has other losses than the record of job {job.id}")
    if job.status == JobStatus.SUCCEEDED and job.order is None:
        numbers = [epoch.epoch for epoch in job.epochs]
        if numbers != list(range(1, job.config.epochs + 1)):
            found.append(f"e: job {job.id} succeeded with the epochs {numbers} of {job.config.epochs}")
    return found


def verified(store: CheckpointStore, checkpoint: CheckpointId) -> Manifest:
    """Raises CheckpointNotFound, CheckpointDamaged."""
    manifest = store.manifest(checkpoint)
    for name in manifest.files:
        store.read(manifest, name)
    return manifest


def of_serving(store: CheckpointStore, serving: Serving) -> list[str]:
    """b and c, for the policy `newest`."""
    if serving.trouble is not None or serving.policy != "newest":
        return []
    latest, should_be = store.find_latest(), newest(store.manifests())
    found = [f"c: trouble is null, and {latest.trouble}"] if latest.trouble else []
    if latest.checkpoint != should_be.checkpoint:
        found.append(f"b: latest names {latest.checkpoint}, and {should_be.checkpoint} is newer")
    if should_be.checkpoint is not None and serving.served != str(should_be.checkpoint):
        found.append(f"b, c: {serving.served} is served, not {should_be.checkpoint}, and trouble is null")
    return found


def of_what_was_served(store: CheckpointStore, serving: Serving, served_before: Sequence[str]) -> list[str]:
    """d: never nothing after something, and never an older one without being asked to."""
    orders = {manifest.id: manifest.order for manifest in store.manifests()}
    series = [name for name in [*served_before, serving.served] if name in orders]
    found = [f"d: {served_before[-1]} was served, and nothing is"] if served_before and not serving.served else []
    if serving.policy == "newest":
        pairs = pairwise(series)
        found += [f"d: {after} followed {before}" for before, after in pairs if orders[after] < orders[before]]
    return found
