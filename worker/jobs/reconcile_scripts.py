"""What the reconciler and the supervisor of a worker do in Redis in one step, in Lua (see worker/jobs/scripts.py)."""

from worker.jobs.keys import LOOPS
from worker.jobs.scripts import COMMON, NO_MEMORY_NEEDED

REPORT = (
    f"local LOOPS = '{LOOPS}'"
    + """
local function report(process, states)
  redis.call('HSET', LOOPS, process, now .. ' ' .. states)
  redis.call('EXPIRE', LOOPS, 3600)
end
"""
)

# ARGV: losses that are one too many, first back-off in seconds, the longest, what to say of a job that is given up, the
# usual seconds of a lease, what to say of a job that is queued again.
# Queue what no worker runs any more, and what has waited long enough. A deadline that is further ahead than it can
# have been set was set by a clock that has been put right since: it is replaced by the latest legal one. A claim whose
# worker never renewed its lease is no lost worker: the answer to the claim was lost. Returns id, what became of it, ...
RECONCILE = (
    COMMON
    + """
local changed = {}
local function each_beyond(key, seconds, handle)
  for _, id in ipairs(redis.call('ZRANGE', key, '(' .. string.format('%.6f', now + seconds), '+inf', 'BYSCORE')) do
    handle(id)
  end
end
each_beyond(LEASES, 1, function(id)
  local longest = number(redis.call('HGET', record(id), 'lease'))
  if longest == 0 then longest = tonumber(ARGV[5]) end
  if redis.call('ZSCORE', LEASES, id) - now > longest + 1 then redis.call('ZADD', LEASES, now + longest, id) end
end)
each_beyond(DELAYED, ARGV[3] + 1, function(id) redis.call('ZADD', DELAYED, now, id) end)
for _, id in ipairs(redis.call('ZRANGE', LEASES, '-inf', '(' .. now, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZREM', LEASES, id)
  local job = redis.call('HMGET', record(id), 'status', 'lost', 'saved', 'saved_when_lost', 'seen_at')
  local status = false
  if job[1] == 'cancelling' then
    status = 'cancelled'
  elseif job[1] == 'running' then
    local lost = number(job[2])
    if job[5] then
      lost = (job[3] == job[4]) and lost + 1 or 1
      redis.call('HSET', record(id), 'lost', lost)
      if job[3] then redis.call('HSET', record(id), 'saved_when_lost', job[3]) end
    end
    if lost >= tonumber(ARGV[1]) then
      status = 'failed'
      redis.call('HSET', record(id), 'error', ARGV[4])
    else
      status = 'queued'
      if lost > 1 then
        redis.call('ZADD', DELAYED, now + math.min(ARGV[2] * 2 ^ (lost - 2), ARGV[3]), id)
      else
        go_to_front(id)
      end
      if job[5] then
        redis.call('HSET', record(id), 'trouble', ARGV[6])
        tell(id, 'trouble', ARGV[6])
      end
    end
  end
  if status then
    if status ~= 'queued' then redis.call('HSET', record(id), 'ended_at', now) end
    become(id, status)
    table.insert(changed, id)
    table.insert(changed, status)
  end
end
for _, id in ipairs(redis.call('ZRANGE', DELAYED, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
  go_to_front(id)
  table.insert(changed, id)
  table.insert(changed, 'due')
end
return changed
"""
)

# ARGV: worker, seconds. Note that a worker is there, and forget those not seen for that time. One that was seen in the
# future was seen by a clock that has been put right since.
SEEN = (
    NO_MEMORY_NEEDED
    + COMMON
    + """
for _, worker in ipairs(redis.call('ZRANGE', WORKERS, '(' .. string.format('%.6f', now + 1), '+inf', 'BYSCORE')) do
  redis.call('ZADD', WORKERS, now, worker)
end
redis.call('ZADD', WORKERS, now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', WORKERS, '-inf', now - ARGV[2])
redis.call('EXPIRE', WORKERS, math.ceil(ARGV[2]))
"""
)

# ARGV: process, the states of its loops as JSON. Note them; those of processes that have not reported for an hour are
# forgotten, as are those that a clock wrote that was ahead.
LOOP_STATES = (
    NO_MEMORY_NEEDED
    + COMMON
    + REPORT
    + """
report(ARGV[1], ARGV[2])
local all = redis.call('HGETALL', LOOPS)
for i = 1, #all, 2 do
  local at = tonumber(string.match(all[i + 1], '^[%d.]+'))
  if not at or at > now + 1 or at < now - 3600 then redis.call('HDEL', LOOPS, all[i]) end
end
"""
)

# ARGV: process, the states of its loops as JSON. Note that a training process is alive; those not seen for an hour are
# forgotten.
PULSE = (
    NO_MEMORY_NEEDED
    + COMMON
    + REPORT
    + """
report(ARGV[1], ARGV[2])
redis.call('ZADD', PULSES, now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', PULSES, '-inf', now - 3600)
redis.call('EXPIRE', PULSES, 3600)
"""
)

# ARGV: parent process. List the jobs that its training processes hold: id, training process, ...
HELD_BY = (
    COMMON
    + """
local held = {}
for _, id in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do
  local job = redis.call('HMGET', record(id), 'parent', 'worker')
  if job[1] == ARGV[1] then
    table.insert(held, id)
    table.insert(held, job[2])
  end
end
return held
"""
)

# ARGV: id, training process, which has ended. End its lease at once, unless another has the job by now.
RELEASE = (
    NO_MEMORY_NEEDED
    + COMMON
    + """
local id = ARGV[1]
if redis.call('HGET', record(id), 'worker') ~= ARGV[2] or not redis.call('ZSCORE', LEASES, id) then return false end
redis.call('ZADD', LEASES, 0, id)
return 1
"""
)

# ARGV: ids. Put jobs into the lists that they belong in, and take them from all others.
INDEX = (
    COMMON
    + """
for _, id in ipairs(ARGV) do
  local place, status = redis.call('ZSCORE', JOBS, id), redis.call('HGET', record(id), 'status')
  for _, other in ipairs({'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'}) do
    redis.call('ZREM', list(id) .. ':' .. other, id)
  end
  if place and status then
    redis.call('ZADD', list(id), place, id)
    redis.call('ZADD', list(id) .. ':' .. status, place, id)
  end
end
"""
)
