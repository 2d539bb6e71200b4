"""Positions in the queue, and estimates of when waiting jobs start.

The estimate follows the queue: each worker that is present takes the next job that it may run, as soon as its current
one ends. An epoch takes as long as the first epoch of similar runs did. What is unknown stays unknown.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import redis.asyncio

from models.config import TrainingConfig
from worker.jobs.codec import Hash, kind_name, present
from worker.jobs.errors import store_errors
from worker.jobs.keys import DELAYED, LEASES, WORKERS, epochs_key, index_key, job_key, queue_key
from worker.jobs.lists.last_epochs import read_last_epochs
from worker.jobs.model import (
    KINDS_OF_WORKERS,
    RUNS_ON,
    JobKind,
    JobStatus,
    QueuePlace,
    RunsOn,
    kind_of,
    taken_by,
)

SIMILAR = 50  # newest succeeded runs that are looked at
ESTIMATED = 200  # waiting jobs; those further back have no estimate
POSITIONED = 1000  # waiting jobs of each queue; those further back have no position either
FIELDS = ("kind", "order", "config", "device", "progress")

Speeds = dict[tuple[object, ...], float]  # seconds of an epoch, by what it depends on


class Known(NamedTuple):
    """What an estimate needs of a job."""

    fields: Hash
    epochs: int  # number of the last one that has finished, 0 if none has
    first_epoch: str | None  # its record

    @property
    def config(self) -> TrainingConfig | None:
        """The configuration of a run; None of other jobs, or if this version does not understand it."""
        try:
            is_run = kind_name(self.fields) == JobKind.TRAINING
            return TrainingConfig.model_validate_json(self.fields["config"], extra="ignore") if is_run else None
        except (KeyError, ValueError):
            return None

    @property
    def kind_of_worker(self) -> RunsOn | None:
        device = self.fields.get("device")
        return kind_of(device) if device else None


class Queue(NamedTuple):
    waiting: list[tuple[str, RunsOn]]  # in the order in which workers take them
    workers: Counter[str]  # by kind
    running: list[Known]
    ended: list[Known]
    first: list[Known]  # the first `ESTIMATED` of `waiting`


async def forecast(client: "redis.asyncio.Redis") -> dict[str, QueuePlace]:
    """Return the place of each waiting job. Raises StoreUnavailable."""
    queue = await read_queue(client)
    return dict(places(queue)) if queue.waiting else {}


async def read_queue(client: "redis.asyncio.Redis") -> Queue:
    with store_errors():
        async with client.pipeline(transaction=True) as pipeline:
            for runs_on in RUNS_ON:
                pipeline.zrange(queue_key(runs_on), 0, POSITIONED - 1, withscores=True)
            pipeline.zrange(DELAYED, 0, POSITIONED - 1)
            pipeline.zrange(LEASES, 0, -1)
            pipeline.zrange(index_key(JobKind.TRAINING, JobStatus.SUCCEEDED), 0, SIMILAR - 1, desc=True)
            pipeline.zrange(WORKERS, 0, -1, withscores=True)
            pipeline.time()
            *queues, delayed, running, ended, workers, (seconds, _) = await pipeline.execute()
        ready = [(score, job_id, name) for name, queue in zip(RUNS_ON, queues, strict=True) for job_id, score in queue]
        waiting: list[tuple[str, RunsOn]] = [(job_id, name) for _, job_id, name in sorted(ready)]
        waiting += [(job_id, "any") for job_id in delayed]
        groups = [running, ended, [job_id for job_id, _ in waiting[:ESTIMATED]]] if waiting else [[], [], []]
        known = iter(await read_known(client, [job_id for group in groups for job_id in group]))
    kinds = Counter(worker.partition(" ")[0] for worker in present(workers, seconds))
    return Queue(waiting, kinds, *([next(known) for _ in group] for group in groups))


async def read_known(client: "redis.asyncio.Redis", ids: Sequence[str]) -> list[Known]:
    async with client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hmget(job_key(job_id), *FIELDS)
            pipeline.hget(epochs_key(job_id), "1")
        answers: list[Any] = await pipeline.execute() if ids else []
    records = zip(answers[::2], await read_last_epochs(client, ids), answers[1::2], strict=True)
    return [
        Known({name: value for name, value in zip(FIELDS, values, strict=True) if value}, epochs, first)
        for values, epochs, first in records
    ]


def places(queue: Queue) -> Iterator[tuple[str, QueuePlace]]:
    """Yield each waiting job with its place.

    Its position counts the jobs before it that may take its worker. The estimate is None if that of a job before it is,
    or if no worker can run it.
    """
    speeds = speeds_of(queue.ended + queue.running)
    free = free_after(queue, speeds)
    ahead: Counter[str] = Counter()
    for place, (job_id, runs_on) in enumerate(queue.waiting):
        before = sum(ahead.values()) if runs_on == "any" else ahead["any"] + ahead[runs_on]
        ahead[runs_on] += 1
        starts = None
        if place < len(queue.first):
            starts = take(free, runs_on, queue.first[place], speeds)
        else:
            free = []
        yield job_id, QueuePlace(position=before + 1, starts_in_seconds=starts)


def take(free: list[tuple[RunsOn, float | None]], runs_on: RunsOn, job: Known, speeds: Speeds) -> float | None:
    """Give a job to the worker that is free first, and return when that is, in seconds from now; None if unknown."""
    usable = [place for place, (kind, _) in enumerate(free) if runs_on in taken_by(kind)]
    if not usable:
        return None
    starts = [free[place][1] for place in usable]
    known = [start for start in starts if start is not None]
    is_known = bool(known) and (len(known) == len(starts) or min(known) == 0)
    if not is_known:
        return None
    place = min((place for place in usable if free[place][1] is not None), key=lambda place: free[place][1] or 0.0)
    kind, start = free[place]
    seconds = left_of(job, kind, speeds)
    free[place] = kind, None if start is None or seconds is None else start + seconds
    return start


def free_after(queue: Queue, speeds: Speeds) -> list[tuple[RunsOn, float | None]]:
    """Return for each worker its kind and the seconds until it is free, None if unknown."""
    busy: defaultdict[RunsOn, list[float | None]] = defaultdict(list)
    for job in queue.running:
        kind = job.kind_of_worker or ("gpu" if not queue.workers["cpu"] else "cpu")
        eta = number_in(job.fields.get("progress"), "eta_seconds")
        busy[kind].append(left_of(job, kind, speeds) if eta is None else max(0.0, eta))
    return [
        (kind, seconds)
        for kind in KINDS_OF_WORKERS
        for seconds in [*busy[kind], *[0.0] * (queue.workers[kind] - len(busy[kind]))]
    ]


def number_in(record: str | None, field: str) -> float | None:
    """Return a field of a record in JSON; None if it is missing or no number."""
    try:
        number = json.loads(record or "{}").get(field)
    except (ValueError, AttributeError):
        return None
    return float(number) if isinstance(number, int | float) else None


def left_of(job: Known, kind: RunsOn, speeds: Speeds) -> float | None:
    """Return the seconds that the rest of a job takes on this kind of worker; None if no similar run is known."""
    config = job.config
    speed = None if config is None else speeds.get(alike(config, kind))
    return None if config is None or speed is None else speed * max(0, config.epochs - job.epochs)


def speeds_of(jobs: Sequence[Known]) -> Speeds:
    """Return the median duration of the first epochs of similar runs."""
    seconds: defaultdict[tuple[object, ...], list[float]] = defaultdict(list)
    for job in jobs:
        config, kind = job.config, job.kind_of_worker
        if config is not None and kind is not None and (took := number_in(job.first_epoch, "seconds")) is not None:
            seconds[alike(config, kind)].append(took)
    return {key: median(each) for key, each in seconds.items()}


def alike(config: TrainingConfig, kind: RunsOn) -> tuple[object, ...]:
    """Return what the duration of an epoch depends on, except the precision, which a waiting run may leave open."""
    sizes = (config.train_examples, config.test_examples, config.batch_size)
    return (config.recipe, config.dataset, *sizes, kind)
