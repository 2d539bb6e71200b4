"""Evaluations in the store: the result of a job that evaluates a checkpoint, and a list of all results. Without torch.

    <job>/evaluation/   result.json (models/evaluation/evaluation_records.py), picture.png, manifest.json
    <job>/evaluating/   figures of finished steps, while the job is unfinished
    evaluations.json    the newest evaluation of each checkpoint and effort

The folder belongs to the job: the deletion of the job deletes it, and entries of deleted jobs in the list do not count.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from models.bounded_reading import FileMissing
from models.evaluation.evaluation_records import Effort, Evaluation
from models.registry.manifest import CheckpointDamaged, CheckpointId, FileRecord, Manifest
from models.registry.storage.base import MANIFEST, ArtifactStorage, Folder
from models.registry.storage.reading import parse, read_bytes, read_record, seal
from models.registry.store import CheckpointStore

EVALUATION = "evaluation"
WORK = "evaluating"  # the folder of finished steps, see `ArtifactStorage.workshop`
RESULT, PICTURE = "result.json", "picture.png"
LIST = "evaluations.json"
FILE_LIMIT = 8 << 20  # bytes; a picture of 47 classes has about one million


class EvaluationManifest(BaseModel):
    """What was evaluated, and the checksums of the files."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    effort: Effort
    created_at: datetime
    files: dict[str, FileRecord]


class Evaluated(BaseModel):
    """The newest evaluation of a checkpoint with one effort."""

    model_config = ConfigDict(frozen=True)

    job: str
    checkpoint: str
    effort: Effort
    dataset_checksum: str
    frechet_distance: float


class EvaluationList(BaseModel):
    model_config = ConfigDict(frozen=True)

    evaluations: list[Evaluated] = Field([])

    def with_one(self, new: Evaluated) -> "EvaluationList":
        others = [each for each in self.evaluations if (each.checkpoint, each.effort) != (new.checkpoint, new.effort)]
        return EvaluationList(evaluations=[*others, new])


def publish_evaluation(
    store: CheckpointStore, job: str, fence: int, effort: Effort, evaluation: Evaluation, picture: bytes
) -> None:
    """Store a result, unless this worker has lost the job. Raises FenceRejected, OSError; then nothing is stored."""
    storage, folder = store.storage, Folder(job, EVALUATION)
    files = {RESULT: evaluation.model_dump_json(indent=2).encode(), PICTURE: picture}
    records = {name: FileRecord.of(data) for name, data in files.items()}
    manifest = EvaluationManifest(
        checkpoint=evaluation.checkpoint, effort=effort, created_at=datetime.now(UTC), files=records
    )
    entry = Evaluated(
        job=job,
        checkpoint=evaluation.checkpoint,
        effort=effort,
        dataset_checksum=evaluation.dataset_checksum,
        frechet_distance=evaluation.generator.frechet_distance,
    )

    def listed(data: bytes | None) -> bytes:
        known = EvaluationList() if data is None else parse(data, EvaluationList, LIST)
        left = [each for each in known.evaluations if has_evaluation(storage, each.job)]
        return seal(EvaluationList(evaluations=left).with_one(entry))

    staged = storage.stage(folder, fence, files)

    def step() -> None:
        store.check_held(job, fence)
        storage.complete(staged, MANIFEST, seal(manifest))
        storage.place(staged, folder, storage.fence(job))
        storage.change(LIST, listed)

    try:
        storage.alone(step)
    except BaseException:
        storage.discard(staged)
        raise


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


def listed_evaluations(storage: ArtifactStorage) -> list[Evaluated]:
    """Return the newest evaluations of all checkpoints, without those of deleted jobs. Raises FileInvalid, OSError."""
    try:
        found = read_record(storage, LIST, EvaluationList).evaluations
    except FileMissing:
        return []
    return [each for each in found if has_evaluation(storage, each.job)]


def best_evaluated(
    manifests: Iterable[Manifest], evaluations: Iterable[Evaluated], dataset: str
) -> CheckpointId | None:
    """Return the checkpoint of a data set whose evaluation has the least Frechet distance; None if none has one.

    Refused checkpoints do not count. Evaluations of the newest version of the data count, and quick ones only if there
    is no full one: distances of different real digits, or numbers of digits, cannot be compared.
    """
    servable = {each.id: each for each in manifests if each.dataset_name == dataset and each.refused is None}
    last = max(servable.values(), key=lambda each: each.order, default=None)
    found = [each for each in evaluations if each.checkpoint in servable]
    found = [each for each in found if last and servable[each.checkpoint].config.dataset == last.config.dataset]
    full = [each for each in found if each.effort == "full"]
    chosen = min(full or found, key=lambda each: each.frechet_distance, default=None)
    return None if chosen is None else CheckpointId.parse(chosen.checkpoint)
