"""Events of jobs: one reader of the Redis stream per process delivers them to all followers."""

import asyncio
import contextlib
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from models.errors import Unavailable
from models.records import Progress
from worker.jobs.client import JobClient
from worker.jobs.codec import decode as decode_record
from worker.jobs.codec import present, with_trouble
from worker.jobs.errors import StoreUnavailable, store_errors
from worker.jobs.keys import EVENTS, WORKERS, epochs_key, job_key
from worker.jobs.model import ENDED, EpochRecord
from worker.jobs.redis_client import connect_reader

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 5.0
BEHIND = 200  # events that a follower may lag before its stream is closed; it can reconnect and continue
LIFE_SECONDS = 600.0
AT_ONCE = 100  # events per read from Redis
GATHERING_SECONDS = 0.05  # between reads, so that events are read in batches: single reads are the largest cost
LOOKED_THROUGH = 1000  # events of all jobs, searched on a reconnect; if there are more, the whole record is sent
AGAIN_SECONDS = 1.0  # before a retry when Redis does not answer


class TooManyFollowers(Unavailable, code="too-many-streams"):
    """The maximum number of streams of this process is reached."""


class NothingFollows(Exception):
    """The job has ended, and the client has received its last event. No error: the response is 204."""


class Event(NamedTuple):
    """A change of one job: `status`, `progress`, `epoch` or `trouble`; `job` is the whole record."""

    id: str
    kind: str
    data: Any


Inbox = asyncio.Queue[Event | None]


class Events:
    def __init__(self, url: str, jobs: JobClient, limit: int, has_shares: bool = False) -> None:
        seconds = BLOCK_SECONDS + 5
        self.redis: Any = connect_reader(url, seconds)
        self.jobs = jobs
        self.asking: Any = jobs.redis  # has a shorter timeout than the reader's connection, which blocks
        self.limit = limit
        self.has_shares = has_shares
        self.streams = 0
        self.streams_of: Counter[str] = Counter()  # by caller
        self.inboxes: dict[Inbox, str] = {}  # with the id of the job
        self.position: str | None = None  # of the last entry that was delivered

    async def read(self, beat: Callable[[], None] = lambda: None) -> None:
        """Read the stream for ever and deliver each event to the followers of its job. Calls `beat` in each round."""
        away = False
        while True:
            beat()
            try:
                with store_errors():
                    is_behind = await self._deliver()
                away = False
                if not is_behind:
                    await asyncio.sleep(GATHERING_SECONDS)
            except StoreUnavailable as error:
                if not away:  # logged once, not every second
                    logger.warning("no events are sent until Redis answers: %s", error)
                away = True
                self.let_go()
                await asyncio.sleep(AGAIN_SECONDS)

    async def _deliver(self) -> bool:
        """Read and deliver events once. Returns whether more may be waiting."""
        position = await self._position()
        answer = await self.redis.xread({EVENTS: position}, block=int(1e3 * BLOCK_SECONDS), count=AT_ONCE)
        entries: list[Any] = answer[0][1] if answer else []
        is_behind = len(entries) == AT_ONCE
        if is_behind and await self._is_forgotten(position):
            self.let_go()
            return True
        followed = set(self.inboxes.values())
        for entry_id, fields in entries:
            self.position = entry_id
            if fields.get("job") in followed and (event := decode(entry_id, fields)) is not None:
                self._hand_out(fields["job"], event)
        return is_behind

    async def _position(self) -> str:
        """Return the position in the stream. The first call, by reader or follower, starts at the newest entry."""
        if self.position is None:
            newest = await self._newest_id()
            self.position = self.position or newest  # another task may have set it meanwhile
        return self.position

    def _hand_out(self, job_id: str, event: Event) -> None:
        for inbox in [inbox for inbox, about in self.inboxes.items() if about == job_id]:
            if inbox.qsize() < BEHIND:
                inbox.put_nowait(event)
            else:
                del self.inboxes[inbox]
                inbox.put_nowait(None)

    def let_go(self) -> None:
        """Close all streams and reset the position, because a restarted Redis may have lost entries.

        Followers reconnect and get the events that they missed.
        """
        for inbox in self.inboxes:
            inbox.put_nowait(None)
        self.inboxes.clear()
        self.position = None

    async def _newest_id(self) -> str:
        newest: list[Any] = await self.asking.xrevrange(EVENTS, count=1)
        return str(newest[0][0]) if newest else "0-0"

    async def _is_forgotten(self, entry_id: str) -> bool:
        """Return whether Redis has deleted entries newer than this one."""
        oldest: list[Any] = await self.asking.xrange(EVENTS, count=1)
        return not oldest or place(oldest[0][0]) > place(entry_id)

    @contextlib.asynccontextmanager
    async def follow(self, job_id: str, last_id: str | None, caller: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        """Open the stream of one job's events: those after `last_id`, or first the whole record.

        If callers share the streams, none gets more streams than are still free.

        The stream ends when the job ends, after ten minutes, if Redis fails, or if the follower lags too far.
        Raises TooManyFollowers, NothingFollows, JobNotFound, StoreUnavailable.
        """
        if self.streams >= self.limit:
            raise TooManyFollowers(f"{self.limit} streams are open already", job=job_id)
        if self.has_shares and self.streams_of[caller] >= self.limit - self.streams:
            raise TooManyFollowers(
                f"you use too many of the {self.limit} streams: a caller never gets more than are still free.",
                job=job_id,
            )
        inbox: Inbox = asyncio.Queue()
        self.streams += 1
        self.streams_of[caller] += 1
        self.inboxes[inbox] = job_id  # before past events are read, so that none is missed
        try:
            with store_errors():
                await self._position()
                past = await self._past(job_id, last_id)
            yield self._stream(past, inbox)
        finally:
            self.inboxes.pop(inbox, None)
            self.streams -= 1
            self.streams_of -= Counter({caller: 1})  # subtraction removes callers with zero streams

    async def _past(self, job_id: str, last_id: str | None) -> list[Event]:
        record = await self._record(job_id)
        if last_id is None or re.fullmatch(r"\d{1,19}-\d{1,19}", last_id) is None:
            return [record]
        if await self._is_forgotten(last_id):
            return [record]
        since: list[Any] = await self.asking.xrange(EVENTS, min=f"({last_id}", count=LOOKED_THROUGH)
        if len(since) == LOOKED_THROUGH or await self._is_forgotten(last_id):  # meanwhile
            return [record]
        ours = [decode(entry_id, fields) for entry_id, fields in since if fields.get("job") == job_id]
        past = [event for event in ours if event is not None]
        if not past and has_ended(record):
            raise NothingFollows(job_id)
        return past

    async def _record(self, job_id: str) -> Event:
        """Return the record and the id of the last event in it, read in one transaction to avoid duplicates."""
        async with self.asking.pipeline(transaction=True) as pipeline:
            pipeline.xrevrange(EVENTS, count=1)
            pipeline.hgetall(job_key(job_id))
            pipeline.hgetall(epochs_key(job_id))
            pipeline.zrange(WORKERS, 0, -1, withscores=True)
            pipeline.time()
            newest, fields, epochs, workers, (seconds, _) = await pipeline.execute()
        if not fields:
            await self.jobs.read(job_id)  # which raises JobNotFound
        job = with_trouble(decode_record(job_id, fields, epochs), present(workers, seconds), seconds)
        return Event(newest[0][0] if newest else "0-0", "job", job)

    async def _stream(self, past: list[Event], inbox: Inbox) -> AsyncIterator[Event]:
        over = asyncio.get_running_loop().time() + LIFE_SECONDS
        reached = (0, 0)
        for event in past:
            reached = place(event.id)
            yield event
            if has_ended(event):
                return
        while True:
            try:
                async with asyncio.timeout_at(over):
                    received = await inbox.get()
            except TimeoutError:
                return
            if received is None:
                return
            if place(received.id) > reached:
                yield received
                if has_ended(received):
                    return

    async def close(self) -> None:
        await self.redis.aclose()


def decode(entry_id: str, fields: dict[str, str]) -> Event | None:
    """Convert an entry of the stream to the form of the job record. Returns None, and logs it, if it is malformed.

    An empty `trouble` becomes null.
    """
    try:
        kind, data = fields["kind"], fields["data"]
        match kind:
            case "progress":
                return Event(entry_id, kind, Progress.model_validate_json(data).model_dump())
            case "epoch":
                return Event(entry_id, kind, EpochRecord.model_validate_json(data, extra="ignore").model_dump())
        return Event(entry_id, kind, {kind: data or None})
    except (KeyError, ValueError) as error:
        logger.warning("event %s of job %s is skipped: it cannot be decoded: %s", entry_id, fields.get("job"), error)
        return None


def has_ended(event: Event) -> bool:
    match event.kind:
        case "job":
            return event.data.status in ENDED
        case "status":
            return event.data["status"] in ENDED
    return False


def place(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
