"""Five invariants of the whole service, checked after every fault test and at the end of the soak.

a  every checkpoint that a record names exists, and each of its files verifies
b  the newest accepted checkpoint that may be served is served, or `trouble` gives the reason
c  `trouble` is null only if nothing is wrong
d  a checkpoint that was served stays served
e  every accepted job ends with the result of its own config
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from models.bounded_reading import FileFault
from models.data.catalog import DEFAULT
from models.data.reference import Reference
from models.registry.job_entry import fingerprint
from models.registry.pointer import Latest, newest
from models.registry.serving_policy import SUBSTITUTE, ServingPolicy, drawn_dataset
from models.registry.storage.uploads import UPLOAD
from models.registry.store import CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointStore, Manifest
from models.registry.training_data import TrainingDataNotFound
from worker.jobs.model import Job, JobKind, JobStatus


class Serving(NamedTuple):
    """The API's responses: `/readyz` and `/serving`."""

    served: str | None
    trouble: str | None
    policy: str = "newest"
    dataset: str | None = None

    @classmethod
    def of(cls, readiness: dict[str, Any], choice: dict[str, Any]) -> "Serving":
        return cls(readiness["serving"], readiness["trouble"], choice["policy"], choice["dataset"])


INVARIANTS = {
    "a": "every checkpoint of a record verifies",
    "b": "the newest is served",
    "c": "trouble is null only if nothing is wrong",
    "d": "what was served stays served",
    "e": "every job has its own result",
}


class Report:
    """The number of checks of each invariant, and one sentence for each violation. Each starts with its invariants."""

    def __init__(self) -> None:
        self.checks: Counter[str] = Counter()
        self.violations: list[str] = []

    def check(self, invariants: str, violation: str | None) -> None:
        """Count a check of these invariants, as `bc`; `violation` is None if they hold."""
        self.checks.update(invariants)
        if violation is not None:
            self.violations.append(f"{', '.join(invariants)}: {violation}")

    def add(self, other: "Report") -> None:
        self.checks += other.checks
        self.violations += other.violations

    def count(self, invariant: str) -> int:
        """The number of violations of one invariant."""
        return sum(invariant in found.partition(":")[0].split(", ") for found in self.violations)


def violations(
    store: CheckpointStore, jobs: Sequence[Job], serving: Serving | None = None, served_before: Sequence[str] = ()
) -> list[str]:
    """Return one sentence for each violation. `served_before` lists the served checkpoints, oldest first."""
    return check_all(store, jobs, serving, [served_before]).violations


def check_all(
    store: CheckpointStore,
    jobs: Sequence[Job],
    serving: Serving | None = None,
    series: Sequence[Sequence[str]] = (),
) -> Report:
    """Check everything. Each of `series` is what one API process served, oldest first; the last one still serves."""
    report = Report()
    for job in jobs:
        check_job(store, job, report)
    if serving is not None:
        check_serving(store, serving, report)
        check_still_served(serving, series[-1] if series else (), report)
        if serving.policy == "newest" and serving.served and series:
            series = [*series[:-1], [*series[-1], serving.served]]
    check_order_of_serving(store, series, report)
    return report


def check_job(store: CheckpointStore, job: Job, report: Report) -> None:
    """Check a, c and e for one job. A trouble in the record excuses missing files, but no wrong ones."""
    for epoch in job.epochs:
        try:
            manifest = verified(store, CheckpointId.parse(epoch.checkpoint))
        except (CheckpointNotFound, CheckpointDamaged) as error:
            excused = job.trouble is not None
            report.check("ac", None if excused else f"job {job.id} names {epoch.checkpoint}, trouble is null: {error}")
            continue
        report.check("ac", None)
        is_own = (manifest.job, manifest.epoch) == (job.id, epoch.epoch)
        report.check("e", None if is_own else f"epoch {epoch.epoch} of job {job.id} names {manifest.id}")
        has_config = fingerprint(manifest.config) == fingerprint(job.config)
        report.check("e", None if has_config else f"{manifest.id} has another config than job {job.id}")
        has_losses = manifest.losses == epoch.losses
        report.check("e", None if has_losses else f"{manifest.id} has other losses than the record of job {job.id}")
    if job.kind == JobKind.TRAINING_DATA:
        check_training_data(store, job, report)
    if job.status == JobStatus.SUCCEEDED and job.kind == JobKind.TRAINING:
        numbers = [epoch.epoch for epoch in job.epochs]
        is_whole = numbers == list(range(1, job.config.epochs + 1))
        wrong = f"job {job.id} succeeded with the epochs {numbers} of {job.config.epochs}"
        report.check("e", None if is_whole else wrong)


def check_training_data(store: CheckpointStore, job: Job, report: Report) -> None:
    """Check a and e for a job that makes training data of a file, and that nothing of the file is left too long."""
    order, made = job.training_data, job.result
    succeeded = job.status == JobStatus.SUCCEEDED
    report.check("e", None if succeeded == (made is not None) else f"job {job.id} is {job.status} with result {made}")
    left = [folder.name for folder in store.storage.folders(job.id)]
    wanted = [] if succeeded else [UPLOAD]
    report.check("e", None if left == wanted else f"job {job.id} is {job.status}, and its folders are {left}")
    if made is not None and order is not None:
        name = made.dataset.partition("@")[0]
        report.check("e", None if name == order.name else f"job {job.id} made {made.dataset} instead of {order.name}")
        try:
            manifest, splits = store.training_data.load(Reference.parse(made.dataset))
        except TrainingDataNotFound:
            return  # removed since
        except FileFault as error:
            report.check("a", f"job {job.id} names {made.dataset}: {error}")
            return
        counts = len(splits.train_labels), len(splits.test_labels)
        is_own = counts == (made.train_images, made.test_images) and manifest.classes == made.classes
        report.check("ae", None if is_own else f"{made.dataset} has {counts} images, unlike the record of job {job.id}")


def verified(store: CheckpointStore, checkpoint: CheckpointId) -> Manifest:
    """Raises CheckpointNotFound, CheckpointDamaged."""
    manifest = store.manifest(checkpoint)
    for name in manifest.files:
        store.read(manifest, name)
    return manifest


def check_serving(store: CheckpointStore, serving: Serving, report: Report) -> None:
    """Check b and c, for the policy `newest`."""
    if serving.policy != "newest":
        return
    has_trouble = serving.trouble is not None
    latest, should_be = store.find_latest(), newest(store.manifests())
    report.check("c", f"trouble is null, and {latest.trouble}" if latest.trouble and not has_trouble else None)
    named, newer = checkpoints_of(latest), checkpoints_of(should_be)
    is_behind = named != newer and not has_trouble
    report.check("b", f"latest names {named}, and {newer} are the newest" if is_behind else None)
    dataset = drawn_dataset(ServingPolicy(dataset=serving.dataset), (should_be.datasets or {}).keys())
    wanted = newer.get(dataset, serving.served)
    is_other = serving.served != wanted and not has_trouble
    report.check("bc", f"{serving.served} is served, not {wanted}, and trouble is null" if is_other else None)


def checkpoints_of(latest: Latest) -> dict[str, str]:
    """The newest checkpoint of each training data set."""
    return {name: str(each.checkpoint) for name, each in (latest.datasets or {}).items()}


def check_still_served(serving: Serving, before: Sequence[str], report: Report) -> None:
    """Check d: an API that has served a checkpoint always serves one."""
    is_gone = bool(before) and not serving.served
    report.check("d", f"{before[-1]} was served, and nothing is" if is_gone else None)


def check_order_of_serving(store: CheckpointStore, series: Sequence[Sequence[str]], report: Report) -> None:
    """Check d: never an older one after a newer one of its training data, unless another policy was chosen.

    Of other training data only the first of MNIST, after printed digits. Trouble is no excuse.
    """
    known = {manifest.id: manifest for manifest in store.manifests()}
    for served in series:
        for before, after in pairwise(known[name] for name in served if name in known):
            datasets = before.config.dataset, after.config.dataset
            went_back = after.order < before.order if len(set(datasets)) == 1 else datasets != (SUBSTITUTE, DEFAULT)
            report.check("d", f"{after.id} was served after {before.id}" if went_back else None)
