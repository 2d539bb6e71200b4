"""Lua scripts with which a worker claims a job, renews its lease, writes its record and ends it.

They use the shared functions of worker/jobs/scripts.py.
"""

from worker.jobs.scripts import COMMON, NO_MEMORY_NEEDED

# ARGV: number of queues, the worker's queues (any, cpu, gpu), then ids to skip.
# Find the next job without claiming it. Returns its id, its record and its epochs, or nil.
NEXT = (
    COMMON
    + """
local takes, skipped, skips = tonumber(ARGV[1]), {}, #ARGV - ARGV[1] - 1
for i = takes + 2, #ARGV do skipped[ARGV[i]] = true end
local function head(key)
  while true do
    local found, stale = redis.call('ZRANGE', key, 0, skips, 'WITHSCORES'), false
    for i = 1, #found, 2 do
      local id = found[i]
      if redis.call('HGET', record(id), 'status') ~= 'queued' then
        redis.call('ZREM', key, id)
        stale = true
      elseif not skipped[id] then
        return id, tonumber(found[i + 1])
      end
    end
    if not stale then return nil end
  end
end
local id, score
for i = 2, takes + 1 do
  local other, at = head(QUEUES[ARGV[i]])
  if other and (not id or at < score or (at == score and other < id)) then id, score = other, at end
end
if not id then return false end
return {id, redis.call('HGETALL', record(id)), redis.call('HGETALL', record(id) .. ':epochs')}
"""
)

# ARGV: id, name of the claim, lowest token, seconds of the lease, worker, its parent process. Claim a job with a token
# higher than all earlier ones; state, token and lease change together. If the response is lost, the claim is repeated
# under the same name and gets the same token. Tokens are compared as decimal text: Lua's numbers are exact only up to
# 2^53. Returns the token, the job's record and its epochs, or nil if the job can no longer be claimed.
CLAIM = (
    COMMON
    + """
local id, name = ARGV[1], ARGV[2]
local job = redis.call('HMGET', record(id), 'status', 'priority', 'turn', 'claim', 'fence')
local function answer(fence)
  return {fence, redis.call('HGETALL', record(id)), redis.call('HGETALL', record(id) .. ':epochs')}
end
if (job[1] == 'running' or job[1] == 'cancelling') and job[4] == name then
  redis.call('ZADD', LEASES, now + ARGV[4], id)
  return answer(job[5])
end
local score = redis.call('ZSCORE', queue(id), id)
if job[1] ~= 'queued' or not score or job[4] == name then return false end -- each name claims once
redis.call('ZREM', queue(id), id)
local priority, turn = job[2] or '0', number(job[3])
if tonumber(score) == turn - priority * PRIORITY_WEIGHT then redis.call('HSET', TURNS, priority, turn) end
if waiting() == 0 then redis.call('DEL', TURNS) end
local highest, lowest = redis.call('GET', FENCE) or '0', ARGV[3]
if #highest < #lowest or (#highest == #lowest and highest < lowest) then redis.call('SET', FENCE, lowest) end
redis.call('INCR', FENCE)
local fence = redis.call('GET', FENCE)
redis.call('HSET', record(id), 'fence', fence, 'claim', name, 'worker', ARGV[5], 'parent', ARGV[6], 'lease', ARGV[4])
redis.call('HSETNX', record(id), 'started_at', now)
if redis.call('HDEL', record(id), 'trouble') == 1 then add_event(id, 'trouble', '') end
redis.call('HDEL', record(id), 'ended_at', 'error', 'seen_at')
redis.call('ZADD', LEASES, now + ARGV[4], id)
become(id, 'running')
return answer(fence)
"""
)

# ARGV: id, why this version does not understand the record. Set it as the trouble of a waiting job.
LEAVE_ALONE = (
    COMMON
    + """
local job = redis.call('HMGET', record(ARGV[1]), 'status', 'trouble')
if job[1] == 'queued' and job[2] ~= ARGV[2] then
  redis.call('HSET', record(ARGV[1]), 'trouble', ARGV[2])
  add_event(ARGV[1], 'trouble', ARGV[2])
end
"""
)

# ARGV: why no job is claimed or '', then the queues (any, cpu, gpu). Note it on the first jobs that wait in these
# queues and have no other trouble; '' removes the note.
WAITING_TROUBLE = (
    COMMON
    + """
local PREFIX = 'the store cannot be used'
for i = 2, #ARGV do
  for _, id in ipairs(redis.call('ZRANGE', QUEUES[ARGV[i]], 0, 99)) do
    local trouble = redis.call('HGET', record(id), 'trouble')
    local is_ours = trouble and string.sub(trouble, 1, #PREFIX) == PREFIX
    if ARGV[1] == '' and is_ours then
      redis.call('HDEL', record(id), 'trouble')
      add_event(id, 'trouble', '')
    elseif ARGV[1] ~= '' and (is_ours or not trouble) and trouble ~= PREFIX .. ': ' .. ARGV[1] then
      redis.call('HSET', record(id), 'trouble', PREFIX .. ': ' .. ARGV[1])
      add_event(id, 'trouble', PREFIX .. ': ' .. ARGV[1])
    end
  end
end
"""
)

HELD = """
local held = redis.call('HMGET', record(ARGV[1]), 'status', 'fence')
if held[2] ~= ARGV[2] or (held[1] ~= 'running' and held[1] ~= 'cancelling') then return false end
"""

# ARGV: id, fence, seconds. Extend the lease to that time from now, and record that the worker was seen.
# Returns the job's state, or nil if the job is lost.
RENEW = (
    NO_MEMORY_NEEDED
    + COMMON
    + HELD
    + """
redis.call('ZADD', LEASES, now + ARGV[3], ARGV[1])
redis.call('HSET', record(ARGV[1]), 'seen_at', now, 'lease', ARGV[3])
return held[1]
"""
)

# ARGV: id, fence, kind of event, its data, epoch number or '', then field, value, ...
# Write fields and publish an event. Returns the job's state, or nil if the job is lost.
WRITE = (
    COMMON
    + HELD
    + """
redis.call('HSET', record(ARGV[1]), 'seen_at', now)
if ARGV[5] ~= '' then redis.call('HSET', record(ARGV[1]) .. ':epochs', ARGV[5], ARGV[4]) end
if #ARGV > 5 then redis.call('HSET', record(ARGV[1]), unpack(ARGV, 6)) end
if ARGV[3] ~= '' then add_event(ARGV[1], ARGV[3], ARGV[4]) end
return held[1]
"""
)

# ARGV: id, fence, status, error or '', lasting trouble or '', then the states that may precede this status.
# End the job, or put it at the front of its priority. Returns its new state, or nil if the job is lost.
FINISH = (
    NO_MEMORY_NEEDED
    + COMMON
    + HELD
    + """
local id, status = ARGV[1], ARGV[3]
local legal = false
for i = 6, #ARGV do legal = legal or held[1] == ARGV[i] end
if not legal then return false end
redis.call('HDEL', record(id), 'lost', 'trouble', 'seen_at')
redis.call('ZREM', LEASES, id)
if ARGV[4] ~= '' then redis.call('HSET', record(id), 'error', ARGV[4]) end
if ARGV[5] ~= '' then
  redis.call('HSET', record(id), 'trouble', ARGV[5])
  add_event(id, 'trouble', ARGV[5])
end
if status == 'queued' then go_to_front(id) else redis.call('HSET', record(id), 'ended_at', now) end
become(id, status)
return status
"""
)

# ARGV: id, epoch, id, epoch, ... Mark checkpoints as deleted to stay within the store's budget.
THINNED = (
    NO_MEMORY_NEEDED
    + COMMON
    + """
for i = 1, #ARGV, 2 do
  if redis.call('EXISTS', record(ARGV[i])) == 1 then
    redis.call('HSET', record(ARGV[i]), 'thinned:' .. ARGV[i + 1], now)
  end
end
"""
)
