"""A data set drawn by several workers: who draws which of its parts, agreed upon in Redis.

The job stays its owner's, the worker that claimed it, who welcomes help for as long as it holds the claim. A part is
drawn by whoever takes it; where that is not done in time, another takes it. Whoever draws a part draws the same digits,
and the owner looks at its checksum: parts therefore need no tokens, and one that is handed over late does no harm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import redis

from models.datasets import DatasetOrder
from worker.bench import Claim
from worker.jobs import RUNS_ON, RunsOn
from worker.keys import HELPING, job_key, parts_key

HELPED = "helped:"  # fields of a job's record: how many parts helpers on each kind of device drew

NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""

HELD = """
local held = redis.call('HMGET', KEYS[1], 'status', 'fence')
if held[1] ~= 'running' or held[2] ~= ARGV[1] then return false end
"""

# KEYS: job, helping, parts. ARGV: fence, id, code, then the names of the parts that are missing, in order.
# Welcome help. Returns 1, or nil where the job is lost or no longer wanted.
WELCOME = (
    HELD
    + """
redis.call('DEL', KEYS[3])
for i = 4, #ARGV do redis.call('ZADD', KEYS[3], i - 4, ARGV[i]) end
redis.call('HSET', KEYS[1], 'code', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[1], ARGV[2])
return 1
"""
)

# KEYS: helping, parts. ARGV: fence, id. Welcome no help any more, unless somebody else does meanwhile.
DECLINE = """
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0) == tonumber(ARGV[1]) then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('DEL', KEYS[2])
end
"""

# KEYS: helping. ARGV: prefix of job keys, then the queues that a helper takes jobs of. Look for somebody who welcomes
# help and has a part that nobody draws, first whoever began first, and forget who no longer runs.
# Returns id, fence, code, order and queue, or nil.
FIND = (
    NOW
    + """
local takes = {}
for i = 2, #ARGV do takes[ARGV[i]] = true end
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  local job = ARGV[1] .. found[i]
  local record = redis.call('HMGET', job, 'status', 'fence', 'code', 'order', 'runs_on')
  local runs_on = record[5] or 'any'
  if record[1] ~= 'running' or tonumber(record[2]) ~= tonumber(found[i + 1]) then
    redis.call('ZREM', KEYS[1], found[i])
    redis.call('DEL', job .. ':parts')
  elseif takes[runs_on] then
    local first = redis.call('ZRANGE', job .. ':parts', 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) <= now then return {found[i], record[2], record[3], record[4], runs_on} end
  end
end
return false
"""
)

# KEYS: job, parts. ARGV: fence, seconds. Take the first part that nobody draws, for so long.
# Returns its name, or nil where there is none or help is no longer wanted.
TAKE = (
    NOW
    + HELD
    + """
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not first[2] or tonumber(first[2]) > now then return false end
redis.call('ZADD', KEYS[2], now + ARGV[2], first[1])
return first[1]
"""
)

# KEYS: job, parts. ARGV: fence, part, field that counts. Say that a part lies where its owner finds it.
# Returns 1, or nil where nobody waits for it any more.
HAND_OVER = (
    HELD
    + """
if redis.call('ZREM', KEYS[2], ARGV[2]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[3], 1) end
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

    @property
    def keys(self) -> list[str]:
        return [job_key(self.job), parts_key(self.job)]

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
        keys = [job_key(shared.job), HELPING, parts_key(shared.job)]
        return bool(self._welcome(keys=keys, args=[shared.fence, shared.job, shared.code, *parts]))

    def decline(self, shared: Shared) -> None:
        self._decline(keys=[HELPING, parts_key(shared.job)], args=[shared.fence, shared.job])

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
        found = self._find(keys=[HELPING], args=[job_key(""), *takes])
        return found and Shared(found[0], int(found[1]), *found[2:])

    def take(self, shared: Shared, seconds: float) -> str | None:
        """Take a part to draw within so many seconds; None where there is none, or no help is wanted any more."""
        part: str | None = self._take(keys=shared.keys, args=[shared.fence, seconds])
        return part

    def hand_over(self, shared: Shared, part: str, device: str) -> bool:
        """Say that a part lies where the owner finds it. Returns whether anybody waits for it."""
        return bool(self._hand_over(keys=shared.keys, args=[shared.fence, part, HELPED + device]))

    def give_back(self, shared: Shared, part: str) -> None:
        """Let another draw it, at once."""
        self.redis.zadd(parts_key(shared.job), {part: 0.0}, xx=True)
