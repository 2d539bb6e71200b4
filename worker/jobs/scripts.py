"""Lua scripts of the API, and functions that all scripts share. Each script runs in Redis as one atomic step.

Times are from the clock of Redis, because the clocks of hosts may differ. A fence token identifies one claim; tokens
only grow, and a write is accepted only if the record still has the writer's token. Keys are listed in
worker/jobs/keys.py. The scripts build keys from ids, so they need a single Redis, not a cluster.
"""

from worker.jobs.keys import DELAYED, EVENTS, FENCE, HELPING, JOBS, LEASES, PULSES, QUEUE, TURNS, WORKERS

NO_MEMORY_NEEDED = "#!lua flags=allow-oom"  # a worker must keep its job when Redis is full

# become: set a status. Only this function does, so that it keeps the lists by status right and notifies followers.
# line_up: add a job to its queue. Within one priority callers take turns: a job's turn is one after its caller's
# last, but not before the current turn (start-time fair queueing, Goyal et al. 1996). So beside a hundred jobs of one
# caller, a single job of another is next, and the jobs of a lone caller run in the order of acceptance.
# leave: remove a job from its queue. go_first: put it before all waiting jobs. go_to_front: put it before the jobs of
# its priority. give_back_turn: move the later jobs of its caller one turn forward, if it is cancelled before it ran.
COMMON = (
    f"""
local JOBS, QUEUE, TURNS, DELAYED, LEASES = '{JOBS}', '{QUEUE}', '{TURNS}', '{DELAYED}', '{LEASES}'
local FENCE, WORKERS, EVENTS, HELPING = '{FENCE}', '{WORKERS}', '{EVENTS}', '{HELPING}'
local PULSES = '{PULSES}'
"""
    + """
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local QUEUES = {any = QUEUE, cpu = QUEUE .. ':cpu', gpu = QUEUE .. ':gpu'}
local PRIORITY_WEIGHT = 2 ^ 40 -- in turns: one step of priority outweighs all turns

local function number(text)
  return tonumber(text or 0) or 0
end
local function record(id)
  return 'acgan:job:' .. id
end
local function add_event(id, kind, data)
  redis.call('XADD', EVENTS, 'MAXLEN', '~', 10000, '*', 'job', id, 'kind', kind, 'data', data)
end
local function list(id)
  local kind = redis.call('HEXISTS', record(id), 'order') == 1 and 'datasets' or 'runs'
  return JOBS .. ':' .. kind
end
local function become(id, status)
  local place, before = redis.call('ZSCORE', JOBS, id), redis.call('HGET', record(id), 'status')
  if before then redis.call('ZREM', list(id) .. ':' .. before, id) end
  redis.call('HSET', record(id), 'status', status)
  if place then redis.call('ZADD', list(id) .. ':' .. status, place, id) end
  add_event(id, 'status', status)
end
local function queue(id)
  return QUEUES[redis.call('HGET', record(id), 'runs_on')] or QUEUE -- a newer version may have more kinds
end
local function line_up(id)
  local job = redis.call('HMGET', record(id), 'priority', 'caller')
  local priority, caller = job[1] or '0', job[2] or ''
  local served, own = unpack(redis.call('HMGET', TURNS, priority, priority .. ':' .. caller))
  local turn = math.max(tonumber(served or 0), tonumber(own or 0))
  redis.call('HSET', TURNS, priority .. ':' .. caller, turn + 1)
  redis.call('HSET', record(id), 'turn', turn)
  redis.call('ZADD', queue(id), string.format('%.0f', turn - priority * PRIORITY_WEIGHT), id)
end
local function leave(id)
  redis.call('ZREM', queue(id), id)
  redis.call('ZREM', DELAYED, id)
end
local function go_before(id, low, high, first) -- jobs that wait with scores from low to high; at `first` if none does
  leave(id)
  for _, key in pairs(QUEUES) do
    local head = redis.call('ZRANGE', key, low, high, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if head[2] then first = math.min(first, head[2] - 1) end
  end
  redis.call('ZADD', queue(id), string.format('%.0f', first), id)
end
local function go_first(id)
  go_before(id, '-inf', '+inf', 0)
end
local function waiting_jobs()
  local ids = redis.call('ZRANGE', DELAYED, 0, -1)
  for _, key in pairs(QUEUES) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do table.insert(ids, id) end
  end
  return ids
end
local function go_to_front(id) -- of its priority
  local base, half = -number(redis.call('HGET', record(id), 'priority')) * PRIORITY_WEIGHT, PRIORITY_WEIGHT / 2
  go_before(id, string.format('%.0f', base - half), string.format('%.0f', base + half), base - 1)
end
local function give_back_turn(id)
  local job = redis.call('HMGET', record(id), 'priority', 'caller', 'turn')
  local priority, caller, turn = job[1] or '0', job[2] or '', tonumber(job[3])
  local next_turn = tonumber(redis.call('HGET', TURNS, priority .. ':' .. caller))
  if not turn or not next_turn or turn >= next_turn then return end
  redis.call('HSET', TURNS, priority .. ':' .. caller, next_turn - 1)
  for _, key in pairs(QUEUES) do
    for _, other in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      local theirs = redis.call('HMGET', record(other), 'priority', 'caller', 'turn')
      local later = tonumber(theirs[3])
      if (theirs[1] or '0') == priority and (theirs[2] or '') == caller and later and later > turn then
        redis.call('HSET', record(other), 'turn', later - 1)
        local place = later - priority * PRIORITY_WEIGHT
        if tonumber(redis.call('ZSCORE', key, other)) == place then
          redis.call('ZADD', key, string.format('%.0f', place - 1), other)
        end
      end
    end
  end
end
local function waiting()
  local found = redis.call('ZCARD', DELAYED)
  for _, key in pairs(QUEUES) do found = found + redis.call('ZCARD', key) end
  return found
end
"""
)

# Whether one more job of a caller exceeds its share: a caller never has more waiting jobs than there are free places.
# So no caller fills the queue, and n callers get equal shares of 1 / (n + 1) (dynamic thresholds, Choudhury and Hahne
# 1998).
SHARE = """
local function exceeds_share(caller, bound)
  local ids, own = waiting_jobs(), 0
  for _, id in ipairs(ids) do
    if redis.call('HGET', record(id), 'caller') == caller then own = own + 1 end
  end
  return own >= bound - #ids
end
"""

# ARGV: id, place, bound, idempotency key or '', its fingerprint, the caller or '' if shares do not count, then field,
# value, ... of the record. Accept a job: record and place in the queue, together. Asked twice, since an answer may be
# lost, it does it once.
# Returns what became of it, the job's id, when it was accepted, and which workers are there.
CREATE = (
    COMMON
    + SHARE
    + """
local id, before = ARGV[1], ARGV[4]
if before ~= '' then
  local known = redis.call('HMGET', before, 'fingerprint', 'job')
  if known[1] and redis.call('EXISTS', record(known[2])) == 1 then -- else that job was deleted
    if known[1] ~= ARGV[5] then return {'other', known[2]} end
    return {'known', known[2]}
  end
end
if redis.call('EXISTS', record(id)) == 0 then
  if waiting() >= tonumber(ARGV[3]) then return {'full'} end
  if ARGV[6] ~= '' and exceeds_share(ARGV[6], tonumber(ARGV[3])) then return {'share'} end
  redis.call('HSET', record(id), 'created_at', now, unpack(ARGV, 7))
  redis.call('ZADD', JOBS, ARGV[2], id)
  redis.call('ZADD', list(id), ARGV[2], id)
  if before ~= '' then
    redis.call('HSET', before, 'fingerprint', ARGV[5], 'job', id)
    redis.call('EXPIRE', before, 86400)
  end
  become(id, 'queued')
  line_up(id)
end
return {'created', id, redis.call('HGET', record(id), 'created_at'), redis.call('ZRANGE', WORKERS, 0, -1)}
"""
)

# ARGV: id. Cancel a job: at once if it waits, through its worker if it runs.
# Returns its new state, or nil if there is no such job.
CANCEL = (
    COMMON
    + """
local id = ARGV[1]
local status = redis.call('HGET', record(id), 'status')
if status == 'queued' then
  leave(id)
  give_back_turn(id)
  if waiting() == 0 then redis.call('DEL', TURNS) end
  status = 'cancelled'
  redis.call('HSET', record(id), 'ended_at', now)
  become(id, status)
elseif status == 'running' then
  status = 'cancelling'
  become(id, status)
end
return status
"""
)

# ARGV: id, bound, 1 if shares count. Queue a job again that failed or was cancelled.
# Returns 'full', 'share', 'deleting', its new state, or nil if there is no such job.
RESUME = (
    COMMON
    + SHARE
    + """
local id = ARGV[1]
local status = redis.call('HGET', record(id), 'status')
if redis.call('HEXISTS', record(id), 'deleting') == 1 then return 'deleting' end
if status == 'failed' or status == 'cancelled' then
  if waiting() >= tonumber(ARGV[2]) then return 'full' end
  local caller = redis.call('HGET', record(id), 'caller')
  if ARGV[3] == '1' and caller and exceeds_share(caller, tonumber(ARGV[2])) then return 'share' end
  status = 'queued'
  redis.call('HDEL', record(id), 'ended_at', 'error', 'lost', 'trouble')
  become(id, status)
  line_up(id)
end
return status
"""
)

# ARGV: id, 'begin', 'keep' or 'end'. Delete the record of an ended job in two steps, with the deletion of its files
# between them. Until the second step the job stays listed and cannot be resumed, so that an interrupted deletion can be
# repeated. Returns the job's state and the token of its last claim, or nil if there is no such job. The record is
# deleted only if the state is succeeded, failed or cancelled.
DELETE = (
    NO_MEMORY_NEEDED
    + COMMON
    + """
local id, step = ARGV[1], ARGV[2]
local job = redis.call('HMGET', record(id), 'status', 'fence')
local status = job[1]
if not status then return false end
if status == 'succeeded' or status == 'failed' or status == 'cancelled' then
  if step == 'begin' then
    redis.call('HSETNX', record(id), 'deleting', now)
  elseif step == 'keep' then
    redis.call('HDEL', record(id), 'deleting')
  else
    leave(id)
    local lists = {LEASES, HELPING, list(id) .. ':' .. status, list(id), JOBS}
    for _, key in ipairs(lists) do redis.call('ZREM', key, id) end
    redis.call('DEL', record(id), record(id) .. ':epochs', record(id) .. ':parts')
  end
end
return {status, job[2] or '0'}
"""
)

# ARGV: id. Make a waiting job the next to run. Returns the job's state, or nil.
FRONT = (
    COMMON
    + """
local status = redis.call('HGET', record(ARGV[1]), 'status')
if status == 'queued' then go_first(ARGV[1]) end
return status
"""
)
