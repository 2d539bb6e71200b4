"""Evaluations in the store: the result of a job that evaluates a checkpoint, and a list of all results. Without torch.

    <job>/evaluation/   result.json (models/evaluation/evaluation_records.py), picture.png, manifest.json
    <job>/evaluating/   figures of finished steps, while the job is unfinished
    evaluations.json    the newest evaluation of each checkpoint and effort

The folder belongs to the job: the deletion of the job deletes it, and entries of deleted jobs in the list do not count.
The list has nothing that the folders do not have: if it is missing or cannot be used, the next publication makes it
again from them.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from models.bounded_reading import FileFault, FileInvalid, FileMissing
from models.evaluation.evaluation_records import Effort, Evaluation, require_finite
from models.registry.manifest import CheckpointDamaged, CheckpointId, CheckpointNotFound, FileRecord, Manifest
from models.registry.storage.base import MANIFEST, ArtifactStorage, Folder
from models.registry.storage.reading import RECORD_BYTES, parse, read_bytes, read_record, seal
from models.registry.store import CheckpointStore

logger = logging.getLogger(__name__)

EVALUATION = "evaluation"
WORK = "evaluating"  # the folder of finished steps, see `ArtifactStorage.workshop`
RESULT, PICTURE = "result.json", "picture.png"
LIST = "evaluations.json"
FILE_LIMIT = 8 << 20  # bytes; a picture of 47 classes has about one million
LIST_LIMIT = RECORD_BYTES  # a longer list would not be read; an entry has about 300 bytes


class EvaluationManifest(BaseModel):
    """What was evaluated, and the checksums of the files."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    effort: Effort
    created_at: datetime
    files: dict[str, FileRecord]


class Evaluated(BaseModel):
    """The newest evaluation of a checkpoint with one effort."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    job: str
    checkpoint: str
    effort: Effort
    dataset_checksum: str
    frechet_distance: float

    @classmethod
    def of(cls, job: str, effort: Effort, evaluation: Evaluation) -> "Evaluated":
        return cls(
            job=job,
            checkpoint=evaluation.checkpoint,
            effort=effort,
            dataset_checksum=evaluation.dataset_checksum,
            frechet_distance=evaluation.generator.frechet_distance,
        )


class EvaluationList(BaseModel):
    """The newest evaluation of each checkpoint and effort, oldest first."""

    model_config = ConfigDict(frozen=True)

    evaluations: list[Evaluated] = Field([])

    @classmethod
    def newest_of(cls, evaluations: Iterable[Evaluated]) -> "EvaluationList":
        """Make the list of evaluations in their order, oldest first."""
        newest = dict[tuple[str, Effort], Evaluated]()
        for each in evaluations:
            newest.pop((each.checkpoint, each.effort), None)  # moves it to the end
            newest[each.checkpoint, each.effort] = each
        return cls(evaluations=list(newest.values()))


def publish_evaluation(
    store: CheckpointStore, job: str, fence: int, effort: Effort, evaluation: Evaluation, picture: bytes
) -> None:
    """Store a result, unless this worker has lost the job. A damaged list of results is made again.

    Raises FiguresNotFinite, FenceRejected, OSError; then nothing is stored.
    """
    require_finite(evaluation.generator.model_dump(), "generated")
    require_finite(evaluation.real.model_dump(), "real")
    storage, folder = store.storage, Folder(job, EVALUATION)
    files = {RESULT: evaluation.model_dump_json(indent=2).encode(), PICTURE: picture}
    records = {name: FileRecord.of(data) for name, data in files.items()}
    manifest = EvaluationManifest(
        checkpoint=evaluation.checkpoint, effort=effort, created_at=datetime.now(UTC), files=records
    )
    entry = Evaluated.of(job, effort, evaluation)
    staged = storage.stage(folder, fence, files)

    def step() -> None:
        store.check_held(job, fence)
        storage.complete(staged, MANIFEST, seal(manifest))
        storage.place(staged, folder, storage.fence(job))
        change_list(storage, lambda left: [*left, entry])

    try:
        storage.alone(step)
    except BaseException:
        storage.discard(staged)
        raise


def list_evaluation(store: CheckpointStore, job: str, fence: int) -> None:
    """Add a stored result to the list unless it is there: a worker may have ended between these two steps.

    It is inserted by its time, so that it replaces no newer one. Raises FenceRejected if this worker has lost the job,
    FileMissing, FileInvalid, CheckpointDamaged, other OSErrors.
    """
    storage = store.storage
    made_at, entry = _stored(storage, job)

    def insert(left: list[Evaluated]) -> list[Evaluated]:
        if job in {each.job for each in left}:
            return left
        place = len(left)
        while place and _made_at(storage, left[place - 1].job) > made_at:
            place -= 1
        return [*left[:place], entry, *left[place:]]

    def step() -> None:
        store.check_held(job, fence)
        change_list(storage, insert)

    storage.alone(step)


def _stored(storage: ArtifactStorage, job: str) -> tuple[float, Evaluated]:
    """Read when a result was made, in seconds since 1970, and its entry."""
    manifest = read_record(storage, f"{job}/{EVALUATION}/{MANIFEST}", EvaluationManifest)
    return manifest.created_at.timestamp(), Evaluated.of(job, manifest.effort, read_evaluation(storage, job))


def _made_at(storage: ArtifactStorage, job: str) -> float:
    try:
        return read_record(storage, f"{job}/{EVALUATION}/{MANIFEST}", EvaluationManifest).created_at.timestamp()
    except FileFault:  # damaged or just deleted: it counts as old
        return -math.inf


def change_list(storage: ArtifactStorage, change: Callable[[list[Evaluated]], list[Evaluated]]) -> None:
    """Replace the list by what `change` makes of the entries whose results are stored, oldest first.

    Call this only inside a step of `alone`. Raises OSError, and what `change` raises.
    """

    def changed(data: bytes | None) -> bytes | None:
        folders = set(storage.folders())
        known = known_evaluations(storage, data, folders)
        left = change([each for each in known if Folder(each.job, EVALUATION) in folders])
        new = seal_bounded(EvaluationList.newest_of(left), folders)
        return None if new == data else new

    storage.change(LIST, changed)


def known_evaluations(storage: ArtifactStorage, data: bytes | None, folders: Collection[Folder]) -> list[Evaluated]:
    """Parse the content of the list; None if it is missing. If it cannot be used, read the results in `folders`.

    These are the placed folders of the store. Raises OSError if the store cannot be read.
    """
    try:
        if data is not None:
            return parse(data, EvaluationList, LIST).evaluations
    except FileInvalid as error:
        logger.warning("the list of evaluations is made again: %s", error)
    found = list[tuple[float, Evaluated]]()
    for job in sorted(folder.job for folder in folders if folder.name == EVALUATION):
        try:
            found.append(_stored(storage, job))
        except (FileFault, CheckpointDamaged) as error:
            logger.warning("the evaluation %s is not listed: %s", job, error)
    return [entry for _, entry in sorted(found, key=lambda each: each[0])]


def seal_bounded(listed: EvaluationList, folders: Collection[Folder]) -> bytes:
    """Serialise the list with at most LIST_LIMIT bytes.

    If it is longer, entries of checkpoints that are not in `folders` are dropped, then the oldest ones.
    """
    data = seal(listed)
    if len(data) <= LIST_LIMIT:
        return data
    left = [each for each in listed.evaluations if _folder_of(each.checkpoint) in folders]
    while len(data := seal(EvaluationList(evaluations=left))) > LIST_LIMIT:
        left = left[len(left) // 10 + 1 :]
    logger.warning("the list of evaluations keeps %d of %d entries", len(left), len(listed.evaluations))
    return data


def _folder_of(checkpoint: str) -> Folder | None:
    with suppress(CheckpointNotFound):
        return CheckpointId.parse(checkpoint).folder
    return None


def has_evaluation(storage: ArtifactStorage, job: str) -> bool:
    """Return whether the result of this job is in the store. Raises OSError."""
    return Folder(job, EVALUATION) in storage.folders(job)


def read_evaluation_file(storage: ArtifactStorage, job: str, name: str) -> bytes:
    """Read a file of a result and verify its checksum. Raises FileMissing, CheckpointDamaged, other OSErrors."""
    manifest = read_record(storage, f"{job}/{EVALUATION}/{MANIFEST}", EvaluationManifest)
    if name not in manifest.files:
        raise FileMissing(f"the evaluation {job} has no {name}")
    data = read_bytes(storage, f"{job}/{EVALUATION}/{name}", FILE_LIMIT)
    if FileRecord.of(data) != manifest.files[name]:
        raise CheckpointDamaged(f"{name} of the evaluation {job} is damaged: its checksum differs")
    return data


def read_evaluation(storage: ArtifactStorage, job: str) -> Evaluation:
    """Raises FileMissing, FileInvalid, CheckpointDamaged, other OSErrors."""
    return parse(read_evaluation_file(storage, job, RESULT), Evaluation, f"the evaluation {job}")


def read_list(storage: ArtifactStorage) -> bytes | None:
    """Read the list as it is stored; None if there is none. Raises FileTooLarge, OSError."""
    try:
        return read_bytes(storage, LIST)
    except FileMissing:
        return None


def listed_evaluations(storage: ArtifactStorage) -> list[Evaluated]:
    """Return the newest evaluations of all checkpoints, without those of deleted jobs. Raises FileInvalid, OSError."""
    data = read_list(storage)
    if data is None:
        return []
    folders = set(storage.folders())  # of all jobs: in a bucket each question about one job is a request
    found = parse(data, EvaluationList, LIST).evaluations
    return [each for each in found if Folder(each.job, EVALUATION) in folders]


def best_evaluated(
    manifests: Iterable[Manifest], evaluations: Iterable[Evaluated], dataset: str
) -> CheckpointId | None:
    """Return the checkpoint of a data set that `best_evaluation` selects; None if none was evaluated."""
    found = best_evaluation(manifests, evaluations, dataset)
    return None if found is None else CheckpointId.parse(found.checkpoint)


def best_evaluation(manifests: Iterable[Manifest], evaluations: Iterable[Evaluated], dataset: str) -> Evaluated | None:
    """Return the evaluation of a checkpoint of a data set with the least Frechet distance; None if there is none.

    Refused checkpoints do not count. Evaluations of the newest version of the data count, and quick ones only if there
    is no full one: distances of different real digits, or numbers of digits, cannot be compared.
    """
    servable = {each.id: each for each in manifests if each.dataset_name == dataset and each.refused is None}
    last = max(servable.values(), key=lambda each: each.order, default=None)
    found = [each for each in evaluations if each.checkpoint in servable]
    found = [each for each in found if last and servable[each.checkpoint].config.dataset == last.config.dataset]
    full = [each for each in found if each.effort == "full"]
    return min(full or found, key=lambda each: each.frechet_distance, default=None)
