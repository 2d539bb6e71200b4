"""Lists of jobs that are searched, filtered and sorted, and the labels that they show.

The index is in Redis (lua/ranks.lua). Jobs enter it when a list that needs it is requested, a few at a time, so that
jobs of earlier versions are found without a migration.
"""

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple, TypeVar

from models.config import TrainingConfig
from worker.jobs import scripts
from worker.jobs.client import JobClient, JobNotFound
from worker.jobs.codec import AnyJob, UnreadableJob, decode, present, with_trouble
from worker.jobs.errors import raises_store_unavailable
from worker.jobs.keys import JOBS, LINES, WORKERS, epochs_key, job_key, order_key
from worker.jobs.lists.estimates import forecast
from worker.jobs.lists.last_epochs import read_last_epochs
from worker.jobs.model import Job, JobKind, JobStatus, QueuePlace

Some = TypeVar("Some", bound=Job | UnreadableJob)
Sort = Literal["newest", "active", "name", "epochs", "frechet"]

SEPARATOR, AROUND_TAGS = "\x1f", "\x1e"
UNNAMED = "\U0010ffff"  # sorts after every name
LOOKED_AT = 2500  # jobs that one script looks at: a few milliseconds of Redis
EPOCHS_AT_ONCE = 2000  # of all jobs of a page that has more than one
INDEXED_AT_ONCE = 50  # jobs; each has up to a thousand epochs
CHECKED_AT_ONCE = 1000  # ids that are checked for being indexed
SEGMENT = 2**40  # of the ranks of `active`, as in lua/list.lua
OPEN_FIRST = {JobStatus.RUNNING: 3, JobStatus.CANCELLING: 2, JobStatus.QUEUED: 1}


class Selection(NamedTuple):
    """Which jobs to list, and in which order."""

    limit: int
    kind: JobKind = JobKind.TRAINING
    status: JobStatus | None = None
    sort: Sort = "newest"
    search: str = ""  # words: each is in the name or the tags, or begins the id
    tag: str = ""
    archived: bool | None = None
    checkpoint: str = ""  # that is evaluated
    before: str | None = None  # the last job of the previous page
    at: str | None = None  # and its position then
    only_last_epoch: bool = False  # of each job, which a list of long runs reads much faster

    @property
    def needs_index(self) -> bool:
        return bool(self.search.split() or self.tag) or self.sort not in ("newest", "active")


class Listed(NamedTuple):
    jobs: list[AnyJob]
    last: str | None  # `before` of the next page; None on the last page
    at: str | None  # and its `at`
    positions: dict[str, str]  # `at` of a page after this job


class Labels(NamedTuple):
    """Labels to set. None keeps a label, an empty name or no tags remove it."""

    name: str | None = None
    notes: str | None = None
    tags: list[str] | None = None
    archived: bool | None = None

    @property
    def fields(self) -> dict[str, str]:
        tags = None if self.tags is None else json.dumps(self.tags)
        archived = None if self.archived is None else str(int(self.archived))
        named = {"name": self.name, "notes": self.notes, "tags": tags, "archived": archived}
        return {field: value for field, value in named.items() if value is not None}


def folded_name(name: str | None) -> str:
    return name.casefold() if name else UNNAMED


def folded_tags(tags: list[str]) -> str:
    return AROUND_TAGS + "".join(tag.casefold() + AROUND_TAGS for tag in tags)


@raises_store_unavailable
class JobCatalog:
    """Belongs to a JobClient. Calls raise StoreUnavailable if Redis does not respond within about a second."""

    def __init__(self, jobs: JobClient) -> None:
        self.jobs = jobs
        self._list = jobs.redis.register_script(scripts.LIST)
        self._label = jobs.redis.register_script(scripts.LABEL)
        self._add = jobs.redis.register_script(scripts.ADD_RANKS)

    async def label(self, job_id: str, labels: Labels) -> AnyJob:
        """Set labels of a job in any state. Its configuration does not change. Raises JobNotFound."""
        if labels.fields:
            named = ["0", ""] if labels.name is None else ["1", folded_name(labels.name)]
            tagged = ["0", ""] if labels.tags is None else ["1", folded_tags(labels.tags)]
            words = [word for field in labels.fields.items() for word in field]
            if await self._label(args=[job_id, *named, *tagged, *words]) is None:
                raise JobNotFound(f"there is no job {job_id}")
        return await self.jobs.read(job_id)

    async def page(self, selection: Selection) -> Listed:
        """List the jobs of a page, fewer than `limit` if these have many epochs.

        Raises JobNotFound if `before` is no job and `at` is not given.
        """
        if selection.needs_index:
            await self.complete_index()
        start = "" if selection.before is None else await self._rank(selection)
        archived = "" if selection.archived is None else str(int(selection.archived))
        wanted = selection.limit + 1
        query: list[str] = [selection.sort, selection.kind, selection.status or "", archived, selection.tag.casefold()]
        found: list[tuple[str, str]] = []
        while True:
            words = selection.search.casefold().split()
            bounds: list[str | int] = [wanted - len(found), start, LOOKED_AT]
            start, *pairs = await self._list(args=[*query, *bounds, selection.checkpoint, *words])
            found += zip(pairs[::2], pairs[1::2], strict=True)
            if not start or len(found) >= wanted:
                break
        page = found[: selection.limit]
        if not selection.only_last_epoch:
            page = page[: await self._count_read_at_once([job_id for job_id, _ in page])]
        ids = [job_id for job_id, _ in page]
        jobs = await (self._read_last(ids) if selection.only_last_epoch else self.jobs.read_all(ids)) if ids else []
        jobs = [job for job in jobs if selection.status in (None, job.status)]  # it may have changed since
        positions = {job_id: rank.partition(SEPARATOR)[0] for job_id, rank in page}
        last = ids[-1] if len(found) > len(ids) else None
        return Listed(jobs, last, last and positions[last], positions)

    async def _count_read_at_once(self, ids: list[str]) -> int:
        """Return how many of the first jobs have EPOCHS_AT_ONCE epochs together: one or more, if there is any job."""
        async with self.jobs.redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hlen(epochs_key(job_id))
            sums = accumulate(await pipeline.execute())
        return max(1, sum(1 for epochs in sums if epochs <= EPOCHS_AT_ONCE))

    async def _read_last(self, ids: list[str]) -> list[AnyJob]:
        """Return jobs with their last epoch only."""
        numbers = [str(number) for number in await read_last_epochs(self.jobs.redis, ids)]
        async with self.jobs.redis.pipeline(transaction=True) as pipeline:
            for job_id, number in zip(ids, numbers, strict=True):
                pipeline.hgetall(job_key(job_id))
                pipeline.hget(epochs_key(job_id), number)
            pipeline.zrange(WORKERS, 0, -1, withscores=True)
            pipeline.time()
            *answers, workers, (seconds, _) = await pipeline.execute()
        records = zip(ids, answers[::2], numbers, answers[1::2], strict=True)
        found = [
            decode(job_id, fields, {number: epoch} if epoch else {})
            for job_id, fields, number, epoch in records
            if fields
        ]
        return [with_trouble(job, present(workers, seconds), seconds) for job in found]

    async def _rank(self, selection: Selection) -> str:
        job_id, client = str(selection.before), self.jobs.redis
        if selection.at is not None:
            return selection.at + SEPARATOR + job_id if selection.sort == "name" else selection.at
        rank: Any = None
        if selection.sort == "name":
            line: Any = await client.hget(LINES, job_id)
            rank = line and line.partition(SEPARATOR)[0] + SEPARATOR + job_id
        elif selection.sort in ("epochs", "frechet"):
            rank = await client.zscore(order_key(selection.kind, selection.sort), job_id)
        else:
            rank = await client.zscore(JOBS, job_id)
            if rank is not None and selection.sort == "active" and selection.status is None:
                status: Any = await client.hget(job_key(job_id), "status")
                rank += OPEN_FIRST.get(status, 0) * SEGMENT
        if rank is None:
            raise JobNotFound(f"there is no job {job_id}")
        return rank if isinstance(rank, str) else f"{rank:.0f}"

    async def with_places(self, jobs: Sequence[Some]) -> list[Some]:
        """Set `queue` of the jobs that wait."""
        if not any(isinstance(job, Job) and job.status == JobStatus.QUEUED for job in jobs):
            return [*jobs]
        places = await forecast(self.jobs.redis)
        return [self._placed(job, places.get(job.id)) for job in jobs]

    def _placed(self, job: Some, place: QueuePlace | None) -> Some:
        return job.model_copy(update={"queue": place}) if place and isinstance(job, Job) else job

    # ----------------------------------------------------------------------------
    # The index.

    async def complete_index(self) -> None:
        """Add the jobs that are not in the index: those of earlier versions, and new ones.

        Each step takes a few milliseconds, and an interrupted call leaves its steps done.
        """
        client: Any = self.jobs.redis
        missing = await client.zcard(JOBS) - await client.hlen(LINES)
        first = 0
        while missing > 0:
            ids = await client.zrange(JOBS, first, first + CHECKED_AT_ONCE - 1, desc=True)
            if not ids:
                return
            lines = await client.hmget(LINES, ids)
            absent = [job_id for job_id, line in zip(ids, lines, strict=True) if line is None]
            for start in range(0, len(absent), INDEXED_AT_ONCE):
                await self._index(absent[start : start + INDEXED_AT_ONCE])
            missing -= len(absent)
            first += CHECKED_AT_ONCE

    async def _index(self, ids: list[str]) -> None:
        async with self.jobs.redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hmget(job_key(job_id), "name", "tags", "config")
            records = await pipeline.execute()
        args = []
        for job_id, (name, tags, config) in zip(ids, records, strict=True):
            shown = first_name(config) if name is None else name
            line = folded_name(shown) + SEPARATOR + folded_tags(json.loads(tags or "[]"))
            args += [job_id, name or "", tags or "", line]
        await self._add(args=args)


def first_name(config: str | None) -> str | None:
    """Return the name in a stored configuration; None if this version does not understand it."""
    try:
        return TrainingConfig.model_validate_json(config or "", extra="ignore").name
    except ValueError:
        return None
