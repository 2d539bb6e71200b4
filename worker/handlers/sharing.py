"""A data set drawn by several workers: Redis stores which worker draws which part.

The job belongs to its owner, the worker that claimed it, which accepts helpers while it holds the claim. A worker takes
a part for a limited time; after that another worker may take it. Every worker draws the same digits for a part, and the
owner verifies the checksum: parts therefore need no fence tokens, and one that is handed over late does no harm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import redis

from models.synthesis.order import DatasetOrder
from worker.jobs import scripts
from worker.jobs.consumer import Claim
from worker.jobs.keys import job_key, parts_key
from worker.jobs.model import RUNS_ON, RunsOn

HELPED = "helped:"  # fields of a job's record: number of parts that helpers drew, by device


class Shared(NamedTuple):
    """A data set whose owner accepts helpers."""

    job: str
    fence: int  # of the owner's claim
    code: str  # version of the owner's code
    order: str  # JSON
    runs_on: RunsOn

    @classmethod
    def of(cls, claim: Claim, code: str) -> "Shared":
        assert claim.job.order is not None
        return cls(claim.job.id, claim.fence, code, claim.job.order.model_dump_json(), claim.job.runs_on)

    def read_order(self) -> DatasetOrder:
        """Raises ValidationError if a newer version wrote fields or values that this version does not know."""
        return DatasetOrder.model_validate_json(self.order)


class Sharing:
    """Calls raise redis.RedisError if Redis does not respond."""

    def __init__(self, client: "redis.Redis") -> None:
        self.redis = client
        self._welcome = client.register_script(scripts.PARTS_WELCOME)
        self._decline = client.register_script(scripts.PARTS_DECLINE)
        self._find = client.register_script(scripts.PARTS_FIND)
        self._take = client.register_script(scripts.PARTS_TAKE)
        self._hand_over = client.register_script(scripts.PARTS_HAND_OVER)

    # ----------------------------------------------------------------------------
    # Calls of the owner.

    def welcome(self, shared: Shared, parts: Sequence[str]) -> bool:
        """Let helpers draw these parts. Returns whether they may: not if the job is lost or is being cancelled."""
        return bool(self._welcome(args=[shared.job, shared.fence, shared.code, *parts]))

    def decline(self, shared: Shared) -> None:
        self._decline(args=[shared.job, shared.fence])

    def missing(self, shared: Shared) -> list[str]:
        """List the parts that are not handed over yet, those taken longest ago first."""
        return list(map(str, self.redis.zrange(parts_key(shared.job), 0, -1)))

    def done(self, shared: Shared, part: str) -> None:
        """Mark a part as drawn by the owner."""
        self.redis.zrem(parts_key(shared.job), part)

    def helpers(self, job: str) -> dict[str, int]:
        """Return the number of parts that helpers drew, by device."""
        fields: dict[str, str] = self.redis.hgetall(job_key(job))  # type: ignore[assignment]
        return {name.removeprefix(HELPED): int(n) for name, n in fields.items() if name.startswith(HELPED)}

    # ----------------------------------------------------------------------------
    # Calls of helpers; the owner too takes its parts with `take`.

    def find(self, takes: Sequence[RunsOn] = RUNS_ON) -> Shared | None:
        """Find a data set with a free part for a helper that reads these queues."""
        found = self._find(args=[*takes])
        return found and Shared(found[0], int(found[1]), *found[2:])

    def take(self, shared: Shared, seconds: float) -> str | None:
        """Take a part to draw within `seconds`. Returns None if none is free or helpers are no longer accepted."""
        part: str | None = self._take(args=[shared.job, shared.fence, seconds])
        return part

    def hand_over(self, shared: Shared, part: str, device: str) -> bool:
        """Mark a part as delivered to its owner. Returns whether the owner still waits for it."""
        return bool(self._hand_over(args=[shared.job, shared.fence, part, HELPED + device]))

    def give_back(self, shared: Shared, part: str) -> None:
        """Make a part free for other workers at once."""
        self.redis.zadd(parts_key(shared.job), {part: 0.0}, xx=True)
