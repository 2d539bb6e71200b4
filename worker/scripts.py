"""What happens in Redis in one step, in Lua: nobody sees it half done, and every write is checked before it is made.

Times are Redis' own, so that they agree whatever the hosts' clocks say. A token (`fence`) names one claim: it only
grows, and a write counts as long as the record still has the writer's token.
"""

NO_MEMORY_NEEDED = "#!lua flags=allow-oom"  # a Redis that is full must not cost a job its worker

NOW = """
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local function tell(job, kind, data)
  redis.call('XADD', 'acgan:events', 'MAXLEN', '~', 10000, '*', 'job', job, 'kind', kind, 'data', data)
end
local function front(queue)
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  return head[2] and math.min(0, head[2] - 1) or 0
end
"""

# KEYS: job, jobs, queue, delayed, idempotency. ARGV: id, config, place, score, bound, fingerprint or '', priority,
# retry_of or '', order of a data set or ''. Accept a job: record and place in the queue, together. Asked twice, since
# an answer may be lost, it does it once. Returns what became of it, the job's id, and when it was accepted.
CREATE = (
    NOW
    + """
if ARGV[6] ~= '' then
  local known = redis.call('HMGET', KEYS[5], 'fingerprint', 'job')
  if known[1] then
    if known[1] ~= ARGV[6] then return {'other', known[2]} end
    return {'known', known[2]}
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  if redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[5]) then return {'full'} end
  redis.call('HSET', KEYS[1], 'status', 'queued', 'config', ARGV[2], 'created_at', now, 'priority', ARGV[7])
  if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'retry_of', ARGV[8]) end
  if (ARGV[9] or '') ~= '' then redis.call('HSET', KEYS[1], 'order', ARGV[9]) end
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
  if ARGV[6] ~= '' then
    redis.call('HSET', KEYS[5], 'fingerprint', ARGV[6], 'job', ARGV[1])
    redis.call('EXPIRE', KEYS[5], 86400)
  end
  tell(ARGV[1], 'status', 'queued')
end
return {'created', ARGV[1], redis.call('HGET', KEYS[1], 'created_at')}
"""
)

# KEYS: queue, fence, leases. ARGV: prefix of job keys, lowest token, seconds of the lease, worker. Take the job at the
# head of the queue, and a token higher than all before: state, token and lease change together.
# Returns its id, the token, its record and its epochs.
CLAIM = (
    NOW
    + """
while true do
  local head = redis.call('ZPOPMIN', KEYS[1])
  if #head == 0 then return false end
  local job = ARGV[1] .. head[1]
  if redis.call('HGET', job, 'status') == 'queued' then
    local fence = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), tonumber(ARGV[2])) + 1
    redis.call('SET', KEYS[2], string.format('%d', fence))
    redis.call('HSET', job, 'status', 'running', 'fence', string.format('%d', fence), 'worker', ARGV[4])
    redis.call('HSETNX', job, 'started_at', now)
    redis.call('HDEL', job, 'ended_at', 'error', 'trouble')
    redis.call('ZADD', KEYS[3], now + ARGV[3], head[1])
    tell(head[1], 'status', 'running')
    return {head[1], fence, redis.call('HGETALL', job), redis.call('HGETALL', job .. ':epochs')}
  end
end
"""
)

HELD = """
local held = redis.call('HMGET', KEYS[1], 'status', 'fence')
if held[2] ~= ARGV[2] or (held[1] ~= 'running' and held[1] ~= 'cancelling') then return false end
"""

# KEYS: job, leases. ARGV: id, fence, seconds. Hold the job for so much longer.
# Returns its state, or nil where it is lost.
RENEW = (
    NO_MEMORY_NEEDED
    + NOW
    + HELD
    + """
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
return held[1]
"""
)

# KEYS: job, epochs. ARGV: id, fence, kind of event, its data, epoch number or '', then field, value, ...
# Write what the run tells. Returns the job's state, or nil where it is lost.
WRITE = (
    NOW
    + HELD
    + """
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], ARGV[5], ARGV[4]) end
if #ARGV > 5 then redis.call('HSET', KEYS[1], unpack(ARGV, 6)) end
if ARGV[3] ~= '' then tell(ARGV[1], ARGV[3], ARGV[4]) end
return held[1]
"""
)

# KEYS: job, queue, leases. ARGV: id, fence, status, error or '', then the states it may follow.
# End the job, or put it back in front of the queue. Returns its new state, or nil where it is lost.
FINISH = (
    NO_MEMORY_NEEDED
    + NOW
    + HELD
    + """
local legal = false
for i = 5, #ARGV do legal = legal or held[1] == ARGV[i] end
if not legal then return false end
redis.call('HSET', KEYS[1], 'status', ARGV[3])
redis.call('HDEL', KEYS[1], 'lost', 'trouble')
redis.call('ZREM', KEYS[3], ARGV[1])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[4]) end
if ARGV[3] == 'queued' then
  redis.call('ZADD', KEYS[2], front(KEYS[2]), ARGV[1])
else
  redis.call('HSET', KEYS[1], 'ended_at', now)
end
tell(ARGV[1], 'status', ARGV[3])
return ARGV[3]
"""
)

# KEYS: job, queue, delayed. ARGV: id. Ask a job to end: at once where it waits, through its worker where it runs.
# Returns the state it is in now, or nil where there is no such job.
CANCEL = (
    NOW
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'queued' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  status = 'cancelled'
  redis.call('HSET', KEYS[1], 'status', status, 'ended_at', now)
  tell(ARGV[1], 'status', status)
elseif status == 'running' then
  status = 'cancelling'
  redis.call('HSET', KEYS[1], 'status', status)
  tell(ARGV[1], 'status', status)
end
return status
"""
)

# KEYS: job, queue, delayed. ARGV: id, score, bound. Queue a job again that failed or was cancelled.
# Returns 'full', the state it is in now, or nil where there is no such job.
RESUME = (
    NOW
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'failed' or status == 'cancelled' then
  if redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[3]) then return 'full' end
  status = 'queued'
  redis.call('HSET', KEYS[1], 'status', status)
  redis.call('HDEL', KEYS[1], 'ended_at', 'error', 'lost', 'trouble')
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
  tell(ARGV[1], 'status', status)
end
return status
"""
)

# KEYS: job, queue, delayed. ARGV: id. Let a waiting job be the next. Returns the job's state, or nil.
FRONT = (
    NOW
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'queued' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[2], front(KEYS[2]), ARGV[1])
end
return status
"""
)

# KEYS: leases, queue, delayed. ARGV: prefix of job keys, losses that are one too many, first back-off in seconds, the
# longest, what to say of a job that is given up. Queue what nobody runs any more, and what has waited long enough.
# Returns id, what became of it, ...
RECONCILE = (
    NOW
    + """
local told = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', '(' .. now, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[1], id)
  local job = ARGV[1] .. id
  local record = redis.call('HMGET', job, 'status', 'lost', 'saved', 'saved_when_lost')
  local status = false
  if record[1] == 'cancelling' then
    status = 'cancelled'
  elseif record[1] == 'running' then
    local lost = (record[3] == record[4]) and tonumber(record[2] or 0) + 1 or 1
    redis.call('HSET', job, 'lost', lost)
    if record[3] then redis.call('HSET', job, 'saved_when_lost', record[3]) end
    if lost >= tonumber(ARGV[2]) then
      status = 'failed'
      redis.call('HSET', job, 'error', ARGV[5])
    else
      status = 'queued'
      redis.call('ZADD', KEYS[3], now + math.min(ARGV[3] * 2 ^ (lost - 1), ARGV[4]), id)
    end
  end
  if status then
    redis.call('HSET', job, 'status', status)
    if status ~= 'queued' then redis.call('HSET', job, 'ended_at', now) end
    tell(id, 'status', status)
    table.insert(told, id)
    table.insert(told, status)
  end
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[3], id)
  redis.call('ZADD', KEYS[2], front(KEYS[2]), id)
  table.insert(told, id)
  table.insert(told, 'due')
end
return told
"""
)
