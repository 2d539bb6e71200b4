"""Lua scripts of the reconciler and the supervisor of a worker (see worker/jobs/scripts.py)."""

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

# ARGV: losses after which a job fails, first back-off in seconds, longest back-off, error of a job that fails, default
# seconds of a lease, trouble of a job that is queued again.
# Queue jobs whose worker was lost, and jobs whose back-off is over. A deadline too far in the future was set by a clock
# that has been corrected since: it is replaced by the latest valid one. A claim whose lease was never renewed does not
# count as a lost worker: the response to the claim was lost. Returns id, outcome, id, outcome, ...
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
        add_event(id, 'trouble', ARGV[6])
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

# ARGV: worker, seconds. Record that a worker is live, and remove those not seen for that time. A time in the future was
# set by a clock that has been corrected since.
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

# ARGV: process, the states of its loops as JSON. Store them, and delete reports that are older than an hour or, because
# a clock was ahead, in the future.
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

# ARGV: process, the states of its loops as JSON. Record that a training process is live, and remove those not seen for
# an hour.
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

# ARGV: parent process. Return the jobs that its training processes hold: id, training process, ...
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

# ARGV: id, training process that has ended. End its lease, unless another process holds the job now.
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

# ARGV: ids. Add jobs to the lists of their kind and status, and remove them from all others.
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
