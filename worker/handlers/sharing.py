"""A data set drawn by several workers: who draws which of its parts, agreed upon in Redis.

The job stays its owner's, the worker that claimed it, who welcomes help for as long as it holds the claim. A part is
drawn by whoever takes it; where that is not done in time, another takes it. Whoever draws a part draws the same digits,
and the owner looks at its checksum: parts therefore need no tokens, and one that is handed over late does no harm.
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

HELPED = "helped:"  # fields of a job's record: how many parts helpers on each kind of device drew

RUNNING = """
if held[1] ~= 'running' then return false end
"""

PARTS = """
local function parts(id) return record(id) .. ':parts' end
local function first_part(id) -- the one that is free, or free soonest, and when
  local longest = number(redis.call('HGET', record(id), 'part_seconds'))
  local ahead = '(' .. string.format('%.6f', now + longest + 1)
  for _, part in ipairs(redis.call('ZRANGE', parts(id), ahead, '+inf', 'BYSCORE')) do
    redis.call('ZADD', parts(id), 0, part) -- a clock that was ahead set this deadline: it has passed
  end
  return redis.call('ZRANGE', parts(id), 0, 0, 'WITHSCORES')
end
"""

# ARGV: id, fence, code, then the names of the parts that are missing, in order.
# Welcome help. Returns 1, or nil where the job is lost or no longer wanted.
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

# ARGV: id, fence. Welcome no help any more, unless somebody else does meanwhile.
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

# ARGV: the queues that a helper takes jobs of. Look for somebody who welcomes help and has a part that nobody draws,
# first whoever began first, and forget who no longer runs. Returns id, fence, code, order and queue, or nil.
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

# ARGV: id, fence, seconds. Take the first part that nobody draws, for so long.
# Returns its name, or nil where there is none or help is no longer wanted.
TAKE = (
    COMMON
    + PARTS
    + HELD
    + RUNNING
    + """
local first = first_part(ARGV[1])
if not first[2] or tonumber(first[2]) > tonumber(now) then return false end
if number(redis.call('HGET', record(ARGV[1]), 'part_seconds')) < tonumber(ARGV[3]) then
  redis.call('HSET', record(ARGV[1]), 'part_seconds', ARGV[3]) -- the longest time that anybody was given
end
redis.call('ZADD', parts(ARGV[1]), now + ARGV[3], first[1])
return first[1]
"""
)

# ARGV: id, fence, part, field that counts. Say that a part lies where its owner finds it.
# Returns 1, or nil where nobody waits for it any more.
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
    """A data set whose owner welcomes help."""

    job: str
    fence: int  # of the owner's claim
    code: str  # the owner's version of it
    order: str  # JSON
    runs_on: RunsOn

    @classmethod
    def of(cls, claim: Claim, code: str) -> "Shared":
        assert claim.job.order is not None
        return cls(claim.job.id, claim.fence, code, claim.job.order.model_dump_json(), claim.job.runs_on)

    def read_order(self) -> DatasetOrder:
        """Raises ValidationError where a newer version wants what this one does not know."""
        return DatasetOrder.model_validate_json(self.order)


class Sharing:
    """Calls raise redis.RedisError where Redis does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self.redis = client
        self._welcome = client.register_script(WELCOME)
        self._decline = client.register_script(DECLINE)
        self._find = client.register_script(FIND)
        self._take = client.register_script(TAKE)
        self._hand_over = client.register_script(HAND_OVER)

    # ----------------------------------------------------------------------------
    # What the owner says and asks.

    def welcome(self, shared: Shared, parts: Sequence[str]) -> bool:
        """Let others draw these parts. Says whether they may: not where the job is lost, or about to be cancelled."""
        return bool(self._welcome(args=[shared.job, shared.fence, shared.code, *parts]))

    def decline(self, shared: Shared) -> None:
        self._decline(args=[shared.job, shared.fence])

    def missing(self, shared: Shared) -> list[str]:
        """List the parts that nobody has handed over, first those that were taken longest ago."""
        return list(map(str, self.redis.zrange(parts_key(shared.job), 0, -1)))

    def done(self, shared: Shared, part: str) -> None:
        """Say that the owner has drawn it."""
        self.redis.zrem(parts_key(shared.job), part)

    def helpers(self, job: str) -> dict[str, int]:
        """Tell how many parts were drawn by helpers, by their devices."""
        fields: dict[str, str] = self.redis.hgetall(job_key(job))  # type: ignore[assignment]
        return {name.removeprefix(HELPED): int(n) for name, n in fields.items() if name.startswith(HELPED)}

    # ----------------------------------------------------------------------------
    # What helpers do; the owner takes its parts like they do.

    def find(self, takes: Sequence[RunsOn] = RUNS_ON) -> Shared | None:
        """Look for a data set that has a part for a helper, who takes such jobs."""
        found = self._find(args=[*takes])
        return found and Shared(found[0], int(found[1]), *found[2:])

    def take(self, shared: Shared, seconds: float) -> str | None:
        """Take a part to draw within so many seconds; None where there is none, or no help is wanted any more."""
        part: str | None = self._take(args=[shared.job, shared.fence, seconds])
        return part

    def hand_over(self, shared: Shared, part: str, device: str) -> bool:
        """Say that a part lies where the owner finds it. Returns whether anybody waits for it."""
        return bool(self._hand_over(args=[shared.job, shared.fence, part, HELPED + device]))

    def give_back(self, shared: Shared, part: str) -> None:
        """Let another draw it, at once."""
        self.redis.zadd(parts_key(shared.job), {part: 0.0}, xx=True)
