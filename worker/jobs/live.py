"""What a running job shows between two epochs: mean losses of the last iterations, and a picture of ten digits.

They are kept in two keys for each running job, of at most about 200 KB, outside the stream of events. The keys are
deleted when the job ends, and expire if its worker is lost.
"""

import base64
import json
from contextlib import suppress
from typing import Any, NamedTuple

import redis
import redis.asyncio

from models.records import LiveLosses, Loss, Phase, Progress
from worker.jobs import scripts
from worker.jobs.client import JobNotFound
from worker.jobs.consumer import Claim, LeaseLost
from worker.jobs.errors import raises_store_unavailable
from worker.jobs.model import JobStatus

ENTRIES = 600  # losses that are kept: those of at least the last ten minutes
EXPIRES_SECONDS = 3600
RUNS = (JobStatus.RUNNING, JobStatus.CANCELLING)


class RecentLosses(NamedTuple):
    """Mean losses of a number of iterations, up to iteration `batch` of `epoch`."""

    epoch: int
    batch: int
    batches: int
    iterations: int
    generator: Loss
    discriminator: Loss


class Sample(NamedTuple):
    """A PNG of the first ten classes, drawn after iteration `batch` of `epoch`; `number` is its entry."""

    number: int
    epoch: int
    batch: int
    png: bytes


class Live(NamedTuple):
    """What a reader does not know yet. A phase and losses that this version does not understand are left out."""

    phase: Phase | None
    newest: int  # number of the newest entry, 0 if there is none
    losses: list[LiveLosses]
    sample: Sample | None


@raises_store_unavailable
class LiveWriter:
    """The worker's side. Calls raise StoreUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        self._live = client.register_script(scripts.LIVE)

    def add(self, claim: Claim, losses: RecentLosses | None, sample: Sample | None) -> int:
        """Add an entry with losses, a sample or both. Returns its number. Raises LeaseLost."""
        text = LiveLosses(number=0, **losses._asdict()).model_dump_json(exclude={"number"}) if losses else ""
        args: list[str | int] = [claim.job.id, claim.fence, EXPIRES_SECONDS, ENTRIES, text]
        if sample:
            args += [sample.epoch, sample.batch, base64.b64encode(sample.png).decode()]
        number = self._live(args=args)
        if number is None:
            raise LeaseLost(claim.job.id)
        return int(number)


def decode_live(answer: list[Any]) -> Live:
    """Decode the answer of the script READ_LIVE."""
    status, progress, newest, losses, after, *sample = answer
    found = []
    for entry in losses:
        place, _, text = entry.partition(" ")
        if int(place) > int(after):
            with suppress(ValueError, TypeError):  # of another version
                found.append(LiveLosses.model_validate({**json.loads(text), "number": int(place)}))
    phase = None
    if progress and status in RUNS:
        with suppress(ValueError):  # of another version
            phase = Progress.model_validate_json(progress).phase
    number, epoch, batch, png = sample or ("0", "0", "0", "")
    drawn = Sample(int(number), int(epoch), int(batch), base64.b64decode(png)) if sample else None
    return Live(phase, int(newest), found, drawn)


@raises_store_unavailable
class LiveReader:
    """The API's side. Calls raise StoreUnavailable."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._read = client.register_script(scripts.READ_LIVE)

    async def read(self, job_id: str, after: int = 0, limit: int = ENTRIES) -> Live:
        """Return what is newer than the entry `after`: at most `limit` losses, and the newest sample.

        If the job has fewer entries than `after`, because it was executed again, this returns them all. Raises
        JobNotFound.
        """
        answer: Any = await self._read(args=[job_id, after, limit])
        if answer is None:
            raise JobNotFound(f"there is no job {job_id}")
        return decode_live(answer)
