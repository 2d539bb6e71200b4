"""The byte budget of the store, and the deletions that keep it. Without torch.

Deletes in this order: files that are an hour old and temporary, shards of ended jobs, or sent by users for jobs that
were not accepted; resume states of ended jobs, and the files that users sent for them; epochs of the oldest runs except
each run's last. Never deletes training data, generated data sets, states, sent files and epochs that are younger than
ten minutes, or checkpoints that are the newest or the best of their data set (by their epochs or by evaluations),
pinned, needed by a job that has not ended, or being read by this process. A read of another process ends with an error
if its checkpoint is deleted meanwhile. JSON records, a few kB each, are not counted.
"""

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import NamedTuple

from models.bounded_reading import FileInvalid
from models.errors import Conflict
from models.registry.evaluations import EVALUATION, best_evaluated, listed_evaluations
from models.registry.evaluations import WORK as EVALUATING
from models.registry.resume_states import STATE_FILE
from models.registry.serving_policy import best_of, pinned, read_choice
from models.registry.storage.base import StoredFile
from models.registry.storage.uploads import UPLOAD, WORK, delete_upload, forget_upload
from models.registry.store import DATASET, SHARD_PREFIX, CheckpointId, CheckpointStore, Manifest
from models.registry.training_data import PLACE as TRAINING_DATA

GRACE_SECONDS = 600  # a younger checkpoint may be in use by a reader; a younger state or sent file may be resumed
TEMPORARY_SECONDS = 3600  # an older temporary file is no longer being written
BYTES_A_DIGIT = 400  # in a generated data set


class StoreFull(Conflict, code="store-full"):
    """The files that must not be deleted exceed the budget. The message gives the bytes."""


class Deletion(NamedTuple):
    what: str  # the checkpoint's id, or a sentence
    size: int  # bytes
    delete: Callable[[], bool]  # returns whether the files were deleted, which were in use otherwise


class Uses(NamedTuple):
    """What the records of jobs say now. Asked again immediately before each deletion; may raise errors of its own."""

    has_ended: Callable[[str], bool] = lambda _job: True
    needed: Callable[[], Collection[CheckpointId]] = tuple  # checkpoints that jobs draw with or evaluate


UNKNOWN = Uses()


class Usage:
    """Bytes in the store by kind of file."""

    def __init__(self, files: list[StoredFile]) -> None:
        self.temporary = [file for file in files if not file.placed]
        self.states: defaultdict[str, list[StoredFile]] = defaultdict(list)
        self.checkpoints: defaultdict[CheckpointId, int] = defaultdict(int)
        self.datasets: defaultdict[str, int] = defaultdict(int)
        self.uploads: defaultdict[str, list[StoredFile]] = defaultdict(list)
        self.training_data = 0
        self.old_shards: list[StoredFile] = []
        for file in files:
            if file.placed:
                self._add(file)

    def _add(self, file: StoredFile) -> None:
        match file.name.split("/"):
            case [job, name] if STATE_FILE.fullmatch(name):
                self.states[job].append(file)
            case [job, name] if name.startswith(SHARD_PREFIX):
                self.datasets[job] += file.size
                self.old_shards += [file] if file.age > TEMPORARY_SECONDS else []
            case [job, _, *_] if job == TRAINING_DATA:
                self.training_data += file.size
            case [job, folder, *_] if folder in (UPLOAD, WORK):
                self.uploads[job].append(file)
            case [job, folder, *_] if folder in (DATASET, EVALUATION, EVALUATING):
                self.datasets[job] += file.size
            case [job, folder, name] if re.fullmatch(r"\d{3,4}", folder) and not name.endswith(".json"):
                self.checkpoints[CheckpointId(job, int(folder))] += file.size

    @property
    def total(self) -> int:
        states = sum(file.size for kind in (self.states, self.uploads) for files in kind.values() for file in files)
        datasets, checkpoints = sum(self.datasets.values()), sum(self.checkpoints.values())
        return states + datasets + checkpoints + self.training_data + sum(file.size for file in self.temporary)

    def outstanding(self, reserved: Mapping[str, int]) -> int:
        """Return the bytes that unfinished data sets will still add. `reserved` maps each job to its final size."""
        return sum(max(0, size - self.datasets[job]) for job, size in reserved.items())


def apply_retention(
    store: CheckpointStore,
    limit: int,
    unfinished: Collection[str] | None = None,
    has_record: Callable[[str], bool] = lambda _job: True,
    uses: Uses = UNKNOWN,
    on_deleted: Callable[[str], None] = lambda _what: None,
) -> list[str]:
    """Delete in the order above until the store has at most `limit` bytes or no deletion is permitted.

    `unfinished` are the jobs that have not ended; if it is None, no state is deleted. `has_record` returns whether a
    job was accepted and not deleted: the API may have ended between the storing of a file and that. A job may be
    resumed or accepted after `unfinished` was read: `uses` is asked before each deletion. Returns the ids of the
    deleted checkpoints and the descriptions of the deleted states; `on_deleted` is called with each at once. Raises
    OSError, and the errors of `uses` and `on_deleted`.
    """
    usage = Usage(store.storage.files())
    total, deleted = usage.total, []
    if old := [file for file in usage.temporary if file.age > TEMPORARY_SECONDS]:
        store.storage.clear(old)
        total -= sum(file.size for file in old)
    for shard in usage.old_shards:
        if unfinished is not None and shard.name.partition("/")[0] not in unfinished:
            store.storage.delete(shard.name)
            total -= shard.size
    for job, files in usage.uploads.items() if unfinished is not None else ():
        is_old = min(file.age for file in files) > TEMPORARY_SECONDS
        if is_old and not (job in (unfinished or ()) or has_record(job)):
            forget_upload(store.storage, job)
            total -= sum(file.size for file in files)
    for deletion in deletions(store, usage, unfinished, uses) if total > limit else ():
        if total <= limit:
            break
        if deletion.delete():
            deleted.append(deletion.what)
            total -= deletion.size
            on_deleted(deletion.what)
    return deleted


def check_room(
    store: CheckpointStore,
    limit: int,
    unfinished: Collection[str],
    needed: int = 0,
    reserved: Mapping[str, int] | None = None,
) -> None:
    """Raises StoreFull if `needed` more bytes do not fit even after all permitted deletions, and OSError.

    States and sent files of ended jobs count as deleted, although they may have to stay for ten minutes.
    `reserved` maps the jobs of unfinished data sets to their final sizes: bytes that are not stored yet count too.
    """
    usage = Usage(store.storage.files())
    outstanding = usage.outstanding(reserved or {})
    total = usage.total - sum(file.size for file in usage.temporary if file.age > TEMPORARY_SECONDS)
    if total + outstanding + needed <= limit:
        return
    rest = total - sum(deletion.size for deletion in deletions(store, usage, unfinished, least_age=-math.inf))
    if rest + outstanding + needed <= limit:
        return
    waiting = f", data sets that are ordered already need about {outstanding:,} more" if outstanding else ""
    wanted = f"{waiting} and this needs about {needed:,} more" if needed else waiting
    raise StoreFull(
        f"the store holds {rest:,} bytes that are not deleted automatically{wanted}, and ACGAN_STORE_LIMIT is "
        f"{limit:,}: delete data sets, jobs or checkpoints, or raise the limit"
    )


def deletions(
    store: CheckpointStore,
    usage: Usage,
    unfinished: Collection[str] | None,
    uses: Uses = UNKNOWN,
    least_age: float = GRACE_SECONDS,
) -> Iterator[Deletion]:
    """Yield the permitted deletions, in order. `least_age` is that of states and sent files, in seconds."""

    def is_kept(job: str, files: list[StoredFile]) -> bool:
        return unfinished is None or job in unfinished or min(file.age for file in files) <= least_age

    for job, files in sorted(usage.states.items(), key=lambda item: -max(file.age for file in item[1])):
        if not is_kept(job, files):
            delete = partial(store.delete_state, job, partial(uses.has_ended, job))
            yield Deletion(f"the resume state of {job}", sum(file.size for file in files), delete)
    for job, files in sorted(usage.uploads.items()):
        if not is_kept(job, files):
            delete = partial(delete_upload, store.storage, job, partial(uses.has_ended, job))
            yield Deletion(f"the file that was sent for {job}", sum(file.size for file in files), delete)
    for manifest in old_epochs(store):
        size = usage.checkpoints[manifest.checkpoint]
        yield Deletion(manifest.id, size, partial(delete_epoch, store, manifest.checkpoint, uses))


def delete_epoch(store: CheckpointStore, checkpoint: CheckpointId, uses: Uses) -> bool:
    """Delete a checkpoint unless it is needed, being read or pinned. Returns whether it was deleted. Raises OSError."""

    def step() -> bool:
        """In a folder, the serving policy does not change while it runs; in a bucket, this takes two requests."""
        try:
            is_kept = checkpoint == pinned(store, read_choice(store))
        except FileInvalid:
            is_kept = True
        if not is_kept:
            store.storage.remove(checkpoint.folder)
        return not is_kept

    if checkpoint in uses.needed() or checkpoint.folder in store.being_read:
        return False
    return store.storage.alone(step)


def old_epochs(store: CheckpointStore) -> Iterator[Manifest]:
    """Yield the checkpoints that may be deleted, oldest run first.

    None if the serving record or the list of evaluations is unreadable.
    """
    try:
        choice, evaluations = read_choice(store), listed_evaluations(store.storage)
    except FileInvalid:
        return
    latest, manifests = store.find_latest(), store.manifests()
    kept = {latest.checkpoint, pinned(store, choice)}
    for dataset, newest in (latest.datasets or {}).items():
        kept |= {newest.checkpoint, best_of(manifests, dataset), best_evaluated(manifests, evaluations, dataset)}
    for _job, run in groupby(manifests, key=lambda manifest: manifest.job):
        for manifest in list(run)[:-1]:
            is_read = manifest.checkpoint.folder in store.being_read
            if manifest.checkpoint not in kept and not is_read and _is_old(manifest):
                yield manifest


def _is_old(manifest: Manifest) -> bool:
    return time.time() - manifest.created_at.timestamp() > GRACE_SECONDS
