"""What happens in Redis in one step, in Lua: nobody sees it half done, and every write is checked before it is made.

Times are Redis' own, so that they agree whatever the hosts' clocks say. A token (`fence`) names one claim: it only
grows, and a write counts as long as the record still has the writer's token. Keys are named in worker/keys.py; this is
for one Redis and no cluster of them, so scripts make keys of ids.
"""

from worker.keys import DELAYED, EVENTS, FENCE, HELPING, JOBS, LEASES, QUEUE, TURNS, WORKERS

NO_MEMORY_NEEDED = "#!lua flags=allow-oom"  # a Redis that is full must not cost a job its worker

# become: the one way to a status, so that the lists by status are true, and followers hear of it.
# line_up: give a job its place among those that wait. Within one priority callers take turns: a job's turn is the one
# after its caller's last, but none before the turn that is served (start-time fair queueing, Goyal et al. 1996). So
# beside a caller's hundred jobs another's single one is next, and a lone caller's are run as they came.
# leave: take it from there. go_first: put it before all that wait, on whatever.
COMMON = (
    f"""
local JOBS, QUEUE, TURNS, DELAYED, LEASES = '{JOBS}', '{QUEUE}', '{TURNS}', '{DELAYED}', '{LEASES}'
local FENCE, WORKERS, EVENTS, HELPING = '{FENCE}', '{WORKERS}', '{EVENTS}', '{HELPING}'
"""
    + """
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local QUEUES = {any = QUEUE, cpu = QUEUE .. ':cpu', gpu = QUEUE .. ':gpu'}
local PRIORITY_WEIGHT = 2 ^ 40 -- turns that one step of priority jumps: all of them

local function record(id)
  return 'acgan:job:' .. id
end
local function tell(id, kind, data)
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
  tell(id, 'status', status)
end
local function queue(id)
  return QUEUES[redis.call('HGET', record(id), 'runs_on') or 'any']
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
local function go_first(id)
  leave(id)
  local first = 0
  for _, key in pairs(QUEUES) do
    local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if head[2] then first = math.min(first, head[2] - 1) end
  end
  redis.call('ZADD', queue(id), string.format('%.0f', first), id)
end
local function waiting_jobs()
  local ids = redis.call('ZRANGE', DELAYED, 0, -1)
  for _, key in pairs(QUEUES) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do table.insert(ids, id) end
  end
  return ids
end
local function waiting()
  local number = redis.call('ZCARD', DELAYED)
  for _, key in pairs(QUEUES) do number = number + redis.call('ZCARD', key) end
  return number
end
"""
)

# Whether one more job of a caller exceeds its share: never more waiting jobs than free places. So no caller fills the
# queue, and several share it evenly with one part left over (dynamic thresholds, Choudhury and Hahne 1998).
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
  if known[1] then
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

# ARGV: lowest token, seconds of the lease, worker, then what it takes: any, cpu, gpu. Take the job whose turn it is,
# and a token higher than all before: state, token and lease change together.
# Returns its id, the token, its record and its epochs.
CLAIM = (
    COMMON
    + """
while true do
  local id, score, from
  for i = 4, #ARGV do
    local head = redis.call('ZRANGE', QUEUES[ARGV[i]], 0, 0, 'WITHSCORES')
    local at = tonumber(head[2])
    if at and (not id or at < score or (at == score and head[1] < id)) then
      id, score, from = head[1], at, QUEUES[ARGV[i]]
    end
  end
  if not id then return false end
  redis.call('ZREM', from, id)
  local job = redis.call('HMGET', record(id), 'status', 'priority', 'turn')
  if job[1] == 'queued' then
    local priority, turn = job[2] or '0', tonumber(job[3] or 0)
    if score == turn - priority * PRIORITY_WEIGHT then redis.call('HSET', TURNS, priority, turn) end
    if waiting() == 0 then redis.call('DEL', TURNS) end
    local fence = math.max(tonumber(redis.call('GET', FENCE) or 0), tonumber(ARGV[1])) + 1
    redis.call('SET', FENCE, string.format('%d', fence))
    redis.call('HSET', record(id), 'fence', string.format('%d', fence), 'worker', ARGV[3])
    redis.call('HSETNX', record(id), 'started_at', now)
    redis.call('HDEL', record(id), 'ended_at', 'error', 'trouble')
    redis.call('ZADD', LEASES, now + ARGV[2], id)
    become(id, 'running')
    return {id, fence, redis.call('HGETALL', record(id)), redis.call('HGETALL', record(id) .. ':epochs')}
  end
end
"""
)

HELD = """
local held = redis.call('HMGET', record(ARGV[1]), 'status', 'fence')
if held[2] ~= ARGV[2] or (held[1] ~= 'running' and held[1] ~= 'cancelling') then return false end
"""

# ARGV: id, fence, seconds. Hold the job for so much longer. Returns its state, or nil where it is lost.
RENEW = (
    NO_MEMORY_NEEDED
    + COMMON
    + HELD
    + """
redis.call('ZADD', LEASES, now + ARGV[3], ARGV[1])
return held[1]
"""
)

# ARGV: id, fence, kind of event, its data, epoch number or '', then field, value, ...
# Write what the run tells. Returns the job's state, or nil where it is lost.
WRITE = (
    COMMON
    + HELD
    + """
if ARGV[5] ~= '' then redis.call('HSET', record(ARGV[1]) .. ':epochs', ARGV[5], ARGV[4]) end
if #ARGV > 5 then redis.call('HSET', record(ARGV[1]), unpack(ARGV, 6)) end
if ARGV[3] ~= '' then tell(ARGV[1], ARGV[3], ARGV[4]) end
return held[1]
"""
)

# ARGV: id, fence, status, error or '', then the states it may follow.
# End the job, or put it back in front of the queue. Returns its new state, or nil where it is lost.
FINISH = (
    NO_MEMORY_NEEDED
    + COMMON
    + HELD
    + """
local id, status = ARGV[1], ARGV[3]
local legal = false
for i = 5, #ARGV do legal = legal or held[1] == ARGV[i] end
if not legal then return false end
redis.call('HDEL', record(id), 'lost', 'trouble')
redis.call('ZREM', LEASES, id)
if ARGV[4] ~= '' then redis.call('HSET', record(id), 'error', ARGV[4]) end
if status == 'queued' then go_first(id) else redis.call('HSET', record(id), 'ended_at', now) end
become(id, status)
return status
"""
)

# ARGV: id. Ask a job to end: at once where it waits, through its worker where it runs.
# Returns the state it is in now, or nil where there is no such job.
CANCEL = (
    COMMON
    + """
local id = ARGV[1]
local status = redis.call('HGET', record(id), 'status')
if status == 'queued' then
  leave(id)
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
# Returns 'full', 'share', the state it is in now, or nil where there is no such job.
RESUME = (
    COMMON
    + SHARE
    + """
local id = ARGV[1]
local status = redis.call('HGET', record(id), 'status')
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

# ARGV: id. Let a waiting job be the next. Returns the job's state, or nil.
FRONT = (
    COMMON
    + """
local status = redis.call('HGET', record(ARGV[1]), 'status')
if status == 'queued' then go_first(ARGV[1]) end
return status
"""
)

# ARGV: losses that are one too many, first back-off in seconds, the longest, what to say of a job that is given up.
# Queue what nobody runs any more, and what has waited long enough. Returns id, what became of it, ...
RECONCILE = (
    COMMON
    + """
local told = {}
for _, id in ipairs(redis.call('ZRANGE', LEASES, '-inf', '(' .. now, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZREM', LEASES, id)
  local job = redis.call('HMGET', record(id), 'status', 'lost', 'saved', 'saved_when_lost')
  local status = false
  if job[1] == 'cancelling' then
    status = 'cancelled'
  elseif job[1] == 'running' then
    local lost = (job[3] == job[4]) and tonumber(job[2] or 0) + 1 or 1
    redis.call('HSET', record(id), 'lost', lost)
    if job[3] then redis.call('HSET', record(id), 'saved_when_lost', job[3]) end
    if lost >= tonumber(ARGV[1]) then
      status = 'failed'
      redis.call('HSET', record(id), 'error', ARGV[4])
    else
      status = 'queued'
      redis.call('ZADD', DELAYED, now + math.min(ARGV[2] * 2 ^ (lost - 1), ARGV[3]), id)
    end
  end
  if status then
    if status ~= 'queued' then redis.call('HSET', record(id), 'ended_at', now) end
    become(id, status)
    table.insert(told, id)
    table.insert(told, status)
  end
end
for _, id in ipairs(redis.call('ZRANGE', DELAYED, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
  go_first(id)
  table.insert(told, id)
  table.insert(told, 'due')
end
return told
"""
)

# ARGV: worker, seconds. Note that a worker is there, and forget those not seen for so long.
SEEN = (
    NO_MEMORY_NEEDED
    + COMMON
    + """
redis.call('ZADD', WORKERS, now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', WORKERS, '-inf', now - ARGV[2])
redis.call('EXPIRE', WORKERS, math.ceil(ARGV[2]))
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
