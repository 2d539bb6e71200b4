"""What happens to jobs, as it happens: one reader of Redis' stream a process, fanned out to whoever follows a job."""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import redis
import redis.asyncio

from worker.jobs import ENDED
from worker.store import EVENTS, JobDesk

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 5.0
BEHIND = 200  # events that a follower may lag before it is let go, to come again from where it was
LIFE_SECONDS = 600.0
AGAIN_SECONDS = 1.0  # before Redis is asked again that did not answer


class TooManyFollowers(Exception):
    """This process streams to as many as it may."""


class Event(NamedTuple):
    """A change of one job: `status`, `progress`, `epoch` or `trouble`; `job` is the whole record."""

    id: str
    kind: str
    data: Any


Inbox = asyncio.Queue[tuple[str, Event] | None]


class Events:
    def __init__(self, url: str, desk: JobDesk, limit: int) -> None:
        self.redis: Any = redis.asyncio.Redis.from_url(url, decode_responses=True, socket_timeout=BLOCK_SECONDS + 5)
        self.desk = desk
        self.limit = limit
        self.inboxes: set[Inbox] = set()
        self.position = "$"

    async def read(self) -> None:
        """Read the stream for ever, and hand what comes to everybody."""
        while True:
            try:
                if self.position == "$":
                    self.position = await self.newest_id()
                answer = await self.redis.xread({EVENTS: self.position}, block=int(1e3 * BLOCK_SECONDS), count=500)
                entries: list[Any] = answer[0][1] if answer else []
                for entry_id, fields in entries:
                    self.position = entry_id
                    self._hand_out(decode(entry_id, fields))
            except redis.RedisError as error:
                logger.warning("events: Redis does not answer: %s", error)
                self._let_go()
                self.position = "$"  # followers come again, and ask for what they missed
                await asyncio.sleep(AGAIN_SECONDS)

    def _hand_out(self, told: tuple[str, Event]) -> None:
        for inbox in list(self.inboxes):
            if inbox.qsize() < BEHIND:
                inbox.put_nowait(told)
            else:
                self.inboxes.discard(inbox)
                inbox.put_nowait(None)

    def _let_go(self) -> None:
        for inbox in list(self.inboxes):
            self.inboxes.discard(inbox)
            inbox.put_nowait(None)

    async def newest_id(self) -> str:
        newest: list[Any] = await self.redis.xrevrange(EVENTS, count=1)
        return str(newest[0][0]) if newest else "0-0"

    @contextlib.asynccontextmanager
    async def follow(self, job_id: str, last_id: str | None) -> AsyncIterator[AsyncIterator[Event]]:
        """Open the stream of one job's events: those after `last_id`, or the whole record and what comes then.

        It ends when the job has, after ten minutes, and where Redis or the follower does not keep up.
        Raises TooManyFollowers, JobNotFound, RedisError.
        """
        if len(self.inboxes) >= self.limit:
            raise TooManyFollowers(
                f"{self.limit} streams are open already: ask GET /jobs/{job_id} now and then instead"
            )
        inbox: Inbox = asyncio.Queue()
        self.inboxes.add(inbox)
        try:
            past = await self._past(job_id, last_id)
            yield self._stream(job_id, past, inbox)
        finally:
            self.inboxes.discard(inbox)

    async def _past(self, job_id: str, last_id: str | None) -> list[Event]:
        now = await self.newest_id()
        job = await self.desk.get(job_id)
        if last_id is not None and re.fullmatch(r"\d{1,19}-\d{1,19}", last_id):
            oldest: list[Any] = await self.redis.xrange(EVENTS, count=1)
            if oldest and place(oldest[0][0]) <= place(last_id):
                since: list[Any] = await self.redis.xrange(EVENTS, min=f"({last_id}")
                told = [decode(entry_id, fields) for entry_id, fields in since]
                return [event for about, event in told if about == job_id]
        return [Event(now, "job", job)]

    async def _stream(self, job_id: str, past: list[Event], inbox: Inbox) -> AsyncIterator[Event]:
        reached = (0, 0)
        for event in past:
            reached = place(event.id)
            yield event
            if has_ended(event):
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIFE_SECONDS):
                while (told := await inbox.get()) is not None:
                    about, event = told
                    if about == job_id and place(event.id) > reached:
                        yield event
                        if has_ended(event):
                            return

    async def close(self) -> None:
        await self.redis.aclose()


def decode(entry_id: str, fields: dict[str, str]) -> tuple[str, Event]:
    kind, data = fields["kind"], fields["data"]
    told = json.loads(data) if kind in ("progress", "epoch") else {kind: data}
    return fields["job"], Event(entry_id, kind, told)


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
