"""Conversion of hashes in Redis to job records. A record that this version does not understand is still readable."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from models.config import TrainingConfig
from models.records import Progress
from worker.jobs.model import HELD, ORDERED, RESULT, EpochRecord, Job, JobKind, JobStatus, RunsOn
from worker.webhook_url import read_webhook_url

Hash = Mapping[str, str]

ORDER_FIELDS = [ordered.field for ordered in ORDERED.values()]  # of a record
SILENT_SECONDS = 10.0  # a worker renews its lease about once a second
LACKS: dict[RunsOn, str] = {
    "any": "no worker is available: start one",
    "cpu": "no worker without a GPU is available: start one whose ACGAN_DEVICE is cpu",
    "gpu": "no worker with a GPU is available: start one whose ACGAN_DEVICE is cuda",
}
BEING_DELETED = (
    "it is being deleted: if it stays listed, the deletion was interrupted, and deleting the job again finishes it"
)


class UnreadableJob(BaseModel):
    """A job whose record this version does not understand, with the values as they are stored."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str = Field(JobKind.TRAINING, exclude=True)
    status: str = Field(description="As stored. It may be a status that this version does not know.")
    config: dict[str, Any] = Field(description="As stored; empty if it is not a JSON object.")
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: None = None
    epochs: list[EpochRecord] = []
    device: str | None = None
    worker: str | None = None
    error: str | None = None
    trouble: str = Field(description="Why this version cannot read the record.")
    priority: int = 0
    runs_on: str = "any"
    caller: str | None = None
    order: dict[str, Any] | None = None
    needed_checkpoint: str | None = Field(None, exclude=True)
    retry_of: str | None = None
    warnings: list[str] = []
    last_seen_at: datetime | None = None


AnyJob = Job | UnreadableJob


def encode(
    kind: JobKind,
    config: TrainingConfig,
    priority: int,
    runs_on: RunsOn,
    order: BaseModel | None,
    named: Mapping[str, str | None],
) -> dict[str, str]:
    """Return the first fields of a record. `named` are further fields; those without a value are omitted."""
    fields = {
        "kind": kind.value,
        "config": config.model_dump_json(),
        "priority": str(priority),
        "runs_on": runs_on,
        **({ORDERED[kind].field: order.model_dump_json()} if order else {}),
        **named,
    }
    return {name: value for name, value in fields.items() if value}


def kind_name(fields: Hash) -> str:
    """Return the kind of a job as it is stored. Records of earlier versions do not contain it."""
    return fields.get("kind") or (JobKind.DATASET if "order" in fields else JobKind.TRAINING)


def decode(job_id: str, fields: Hash, epochs: Hash) -> AnyJob:
    """Decode a record. If this version does not understand it, return it as it is stored."""
    try:
        return decode_job(job_id, fields, epochs)
    except (KeyError, ValueError, TypeError) as error:
        return _unreadable(job_id, fields, epochs, _reason(error))


def decode_job(job_id: str, fields: Hash, epochs: Hash) -> Job:
    """Decode a record. Unknown fields are ignored: a newer version may have written them.

    Raises KeyError, ValueError or TypeError if this version does not understand the record.
    """
    status = JobStatus(fields["status"])
    return Job(
        id=job_id,
        kind_name=JobKind(kind_name(fields)).value,
        status=status,
        config=(config := TrainingConfig.model_validate_json(fields["config"], extra="ignore")),
        created_at=_time(fields["created_at"]),
        started_at=_time(fields["started_at"]) if "started_at" in fields else None,
        ended_at=_time(fields["ended_at"]) if "ended_at" in fields else None,
        seconds_running=float(fields["seconds_running"]) if "seconds_running" in fields else None,
        running_since=_time(fields["running_since"]) if "running_since" in fields and status in HELD else None,
        progress=Progress.model_validate_json(fields["progress"]) if "progress" in fields else None,
        epochs=[EpochRecord.model_validate_json(epochs[number]) for number in sorted(epochs, key=int)],
        device=fields.get("device"),
        error=fields.get("error"),
        trouble=BEING_DELETED if "deleting" in fields else fields.get("trouble") or None,
        worker=fields.get("worker"),
        priority=int(fields.get("priority", 0)),
        runs_on=fields.get("runs_on", "any"),
        caller=fields.get("caller"),
        **{field: model.model_validate_json(fields[field], extra="ignore") for field, model in made_of(fields)},
        webhook_host=read_webhook_url(fields["webhook"]).host if "webhook" in fields else None,
        retry_of=fields.get("retry_of"),
        traceparent=fields.get("traceparent"),
        warnings=json.loads(fields.get("warnings", "[]")),
        **labels_of(fields, config.name),
        last_seen_at=_time(fields["seen_at"]) if "seen_at" in fields else None,
    )


def labels_of(fields: Hash, first_name: str | None) -> dict[str, Any]:
    """Return the labels of a job. `first_name` is its name until another is set."""
    return {
        "name": (fields["name"] or None) if "name" in fields else first_name,
        "notes": fields.get("notes", ""),
        "tags": json.loads(fields.get("tags", "[]")),
        "archived": fields.get("archived") == "1",
    }


def made_of(fields: Hash) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the fields of a record that say what the job makes and has made, with the model of each."""
    for ordered in (*ORDERED.values(), RESULT):
        if ordered.field in fields:
            yield ordered.field, ordered.model


def checkpoint_named(orders: Iterable[str | None]) -> str | None:
    """Return the checkpoint that one of a record's `ORDER_FIELDS` names, as stored; None if none does.

    Also that of an order that this version does not understand.
    """
    checkpoints = ((_object(order) or {}).get("checkpoint") for order in orders)
    return next((checkpoint for checkpoint in checkpoints if isinstance(checkpoint, str)), None)


def present(workers: Sequence[tuple[str, float]], now: float) -> list[str]:
    """Return the workers whose last contact is not in the future. `workers` are pairs (worker, time of last contact).

    A time in the future was recorded while a clock was ahead; a live worker corrects it within a round of its
    reconciler.
    """
    return [worker for worker, seen in workers if seen <= now + 1]


def with_trouble(job: AnyJob, workers: Sequence[str], now: float) -> AnyJob:
    """Set `trouble` if no worker can claim the job, or if its worker does not respond.

    The stored record does not contain this.
    """
    if isinstance(job, UnreadableJob):
        return job
    match job.status:
        case JobStatus.QUEUED:
            kinds = {worker.partition(" ")[0] for worker in workers}
            has_worker = kinds if job.runs_on == "any" else job.runs_on in kinds
            return job if has_worker else job.model_copy(update={"trouble": LACKS[job.runs_on]})
        case JobStatus.RUNNING | JobStatus.CANCELLING if job.last_seen_at is not None:
            silence = datetime.fromtimestamp(now, UTC) - job.last_seen_at
            if silence < timedelta(seconds=-1):  # a clock that was ahead wrote it
                unknown = "its worker does not respond: the time of its last contact is in the future"
                return job.model_copy(update={"trouble": unknown, "last_seen_at": datetime.fromtimestamp(now, UTC)})
            if silence > timedelta(seconds=SILENT_SECONDS):
                silent = f"its worker does not respond: it was last seen at {job.last_seen_at:%Y-%m-%dT%H:%M:%SZ}"
                return job.model_copy(update={"trouble": silent})
    return job.model_copy(update={"last_seen_at": None})


def pairs(flat: Sequence[str]) -> Hash:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _unreadable(job_id: str, fields: Hash, epochs: Hash, reason: str) -> UnreadableJob:
    known = []
    for number in sorted(epochs, key=lambda number: (len(number), number)):
        try:
            known.append(EpochRecord.model_validate_json(epochs[number]))
        except ValueError:
            continue
    priority = fields.get("priority", "0")
    return UnreadableJob(
        id=job_id,
        kind=kind_name(fields),
        status=fields.get("status", "unknown"),
        config=_object(fields.get("config")) or {},
        created_at=_any_time(fields.get("created_at")),
        started_at=_any_time(fields.get("started_at")),
        ended_at=_any_time(fields.get("ended_at")),
        epochs=known,
        device=fields.get("device"),
        worker=fields.get("worker"),
        error=fields.get("error"),
        trouble=f"this version does not understand the record ({reason}): only the version that wrote it can run or "
        "resume the job",
        priority=int(priority) if priority.lstrip("-").isdecimal() else 0,
        runs_on=fields.get("runs_on", "any"),
        caller=fields.get("caller"),
        order=_object(fields.get("order")),
        needed_checkpoint=checkpoint_named([fields.get(name) for name in ORDER_FIELDS]),
        retry_of=fields.get("retry_of"),
        last_seen_at=None,
    )


def _reason(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if errors is not None:  # pydantic's
        first = errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    return f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _time(seconds: str) -> datetime:
    """Raises ValueError."""
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{seconds} is not a time") from error


def _any_time(seconds: str | None) -> datetime | None:
    try:
        return None if seconds is None else _time(seconds)
    except ValueError:
        return None
