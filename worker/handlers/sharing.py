"""A data set drawn by several workers: Redis stores which worker draws which part.

The job belongs to its owner, the worker that claimed it, which accepts helpers while it holds the claim. A worker takes
a part for a limited time; after that another worker may take it. Every worker draws the same digits for a part, and the
owner verifies the checksum: parts therefore need no fence tokens, and one that is handed over late does no harm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import redis

from models.synthesis.order import DatasetOrder
from worker.jobs.claim_scripts import HELD
from worker.jobs.consumer import Claim
from worker.jobs.keys import job_key, parts_key
from worker.jobs.model import RUNS_ON, RunsOn
from worker.jobs.scripts import COMMON

HELPED = "helped:"  # fields of a job's record: number of parts that helpers drew, by device

RUNNING = """
if held[1] ~= 'running' then return false end
"""

PARTS = """
local function parts(id) return record(id) .. ':parts' end
local function first_part(id) -- the part that is free, or becomes free first, and when
  local longest = number(redis.call('HGET', record(id), 'part_seconds'))
  local ahead = '(' .. string.format('%.6f', now + longest + 1)
  for _, part in ipairs(redis.call('ZRANGE', parts(id), ahead, '+inf', 'BYSCORE')) do
    redis.call('ZADD', parts(id), 0, part) -- a clock that was ahead set this deadline
  end
  return redis.call('ZRANGE', parts(id), 0, 0, 'WITHSCORES')
end
"""

# ARGV: id, fence, code, then the names of the missing parts, in order.
# Accept helpers. Returns 1, or nil if the job is lost or is being cancelled.
WELCOME = (
    COMMON
    + PARTS
    + HELD
    + RUNNING
    + """
local id = ARGV[1]
redis.call('DEL', parts(id))
for i = 4, #ARGV do redis.call('ZADD', parts(id), i - 4, ARGV[i]) end
redis.call('HSET', record(id), 'code', ARGV[3])
redis.call('ZADD', HELPING, ARGV[2], id)
return 1
"""
)

# ARGV: id, fence. Accept no more helpers, unless another worker has claimed the job and accepts them.
DECLINE = (
    COMMON
    + PARTS
    + """
if tonumber(redis.call('ZSCORE', HELPING, ARGV[1]) or 0) == tonumber(ARGV[2]) then
  redis.call('ZREM', HELPING, ARGV[1])
  redis.call('DEL', parts(ARGV[1]))
end
"""
)

# ARGV: the queues of the helper. Find the oldest claim that accepts helpers and has a free part, and remove those that
# no longer run. Returns id, fence, code, order and queue, or nil.
FIND = (
    COMMON
    + PARTS
    + """
local takes = {}
for i = 1, #ARGV do takes[ARGV[i]] = true end
local found = redis.call('ZRANGE', HELPING, 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  local id = found[i]
  local job = redis.call('HMGET', record(id), 'status', 'fence', 'code', 'order', 'runs_on')
  local runs_on = job[5] or 'any'
  if job[1] ~= 'running' or tonumber(job[2]) ~= tonumber(found[i + 1]) then
    redis.call('ZREM', HELPING, id)
    redis.call('DEL', parts(id))
  elseif takes[runs_on] then
    local first = first_part(id)
    if first[2] and tonumber(first[2]) <= tonumber(now) then return {id, job[2], job[3], job[4], runs_on} end
  end
end
return false
"""
)

# ARGV: id, fence, seconds. Take the first free part for that time.
# Returns its name, or nil if no part is free or helpers are no longer accepted.
TAKE = (
    COMMON
    + PARTS
    + HELD
    + RUNNING
    + """
local first = first_part(ARGV[1])
if not first[2] or tonumber(first[2]) > tonumber(now) then return false end
if number(redis.call('HGET', record(ARGV[1]), 'part_seconds')) < tonumber(ARGV[3]) then
  redis.call('HSET', record(ARGV[1]), 'part_seconds', ARGV[3]) -- the longest time given to any worker
end
redis.call('ZADD', parts(ARGV[1]), now + ARGV[3], first[1])
return first[1]
"""
)

# ARGV: id, fence, part, field that counts. Mark a part as delivered to its owner.
# Returns 1, or nil if the owner no longer waits for it.
HAND_OVER = (
    COMMON
    + PARTS
    + HELD
    + RUNNING
    + """
if redis.call('ZREM', parts(ARGV[1]), ARGV[3]) == 1 then redis.call('HINCRBY', record(ARGV[1]), ARGV[4], 1) end
return 1
"""
)


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
        self._welcome = client.register_script(WELCOME)
        self._decline = client.register_script(DECLINE)
        self._find = client.register_script(FIND)
        self._take = client.register_script(TAKE)
        self._hand_over = client.register_script(HAND_OVER)

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
