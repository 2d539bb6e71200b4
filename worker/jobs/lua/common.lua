-- Functions that all scripts use. worker/jobs/scripts.py injects the names in upper case: JOBS, QUEUES, STATUS, ...
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local PRIORITY_WEIGHT = 2 ^ 40 -- in turns: one step of priority outweighs all turns

local function number(text)
  return tonumber(text or 0) or 0
end
local function record(id)
  return JOB_PREFIX .. id
end
local function epochs(id)
  return JOB_PREFIX .. id .. EPOCHS_SUFFIX
end
local function add_event(id, kind, data)
  redis.call('XADD', EVENTS, 'MAXLEN', '~', 10000, '*', 'job', id, 'kind', kind, 'data', data)
end
local function kind(id) -- records of earlier versions do not contain it
  local has_order = redis.call('HEXISTS', record(id), 'order') == 1
  return redis.call('HGET', record(id), 'kind') or (has_order and KIND.DATASET or KIND.TRAINING)
end
local function list(id)
  return LISTS[kind(id)] or JOBS .. ':' .. kind(id) .. 's' -- a newer version may have more kinds
end
local function list_of_status(id, status) -- takes any status: a newer version may have more
  return list(id) .. ':' .. status
end
local function message(id, number) -- the id of a message about an end of the job
  return 'msg_' .. id .. '_' .. number
end
local function last_epoch(id) -- that has finished; earlier ones may be missing
  local last = 0
  for _, epoch in ipairs(redis.call('HKEYS', epochs(id))) do last = math.max(last, number(epoch)) end
  return last
end
local function announce(id, status) -- the end of a job, to the address that its order names
  local url = redis.call('HGET', record(id), 'webhook')
  if not url then return end
  local new = message(id, redis.call('HINCRBY', record(id), 'ends', 1))
  redis.call('HSET', MESSAGE_PREFIX .. new, 'job', id, 'url', url, 'status', status, 'ended_at', now)
  redis.call('HSET', MESSAGE_PREFIX .. new, 'epoch', last_epoch(id))
  local name = redis.call('HGET', record(id), 'name') -- if it was changed; the text of a message stays the same
  if name then redis.call('HSET', MESSAGE_PREFIX .. new, 'name', name) end
  redis.call('ZADD', OUTBOX, now, new)
end
-- Count the time that a worker holds the job, for a change of its status at the time `at`. A record of an earlier
-- version lacks `seconds_running`, because the time before the upgrade is unknown.
local function count_time(id, before, status, at)
  local held = before == STATUS.RUNNING or before == STATUS.CANCELLING
  if status == STATUS.RUNNING then
    redis.call('HSET', record(id), 'running_since', at)
  elseif held and status ~= STATUS.CANCELLING then
    local since = redis.call('HGET', record(id), 'running_since')
    if since and redis.call('HEXISTS', record(id), 'seconds_running') == 1 then
      local seconds = string.format('%.3f', math.max(0, number(at) - number(since)))
      redis.call('HINCRBYFLOAT', record(id), 'seconds_running', seconds)
    end
    redis.call('HDEL', record(id), 'running_since')
  end
end
-- Replace the trouble of a job, as its status changes: `trouble` or ''. What was wrong in the earlier state is over,
-- except that a job that is being cancelled is still run by the same worker. Returns the event to add; nil if nothing
-- changes.
local function replace_trouble(id, status, trouble)
  if trouble ~= '' then
    redis.call('HSET', record(id), 'trouble', trouble)
    return trouble
  end
  local known = redis.call('HGET', record(id), 'trouble')
  if not known or status == STATUS.CANCELLING then return nil end
  redis.call('HDEL', record(id), 'trouble')
  return known ~= '' and '' or nil
end
-- Set a status, at the time `at` or now, and the trouble of the job in it, if there is any. Only this function sets a
-- status, so that it keeps the lists by status right, notifies followers, and announces an end in the same step.
local function become(id, status, at, trouble)
  local place, before = redis.call('ZSCORE', JOBS, id), redis.call('HGET', record(id), 'status')
  count_time(id, before, status, at or now)
  if before then redis.call('ZREM', list_of_status(id, before), id) end
  redis.call('HSET', record(id), 'status', status)
  if place then redis.call('ZADD', list_of_status(id, status), place, id) end
  local event = replace_trouble(id, status, trouble or '')
  if event and ENDED[status] then add_event(id, 'trouble', event) end -- streams end with such a status
  add_event(id, 'status', status)
  if event and not ENDED[status] then add_event(id, 'trouble', event) end -- followers drop a trouble at a status
  if ENDED[status] then
    redis.call('DEL', record(id) .. LIVE_SUFFIX, record(id) .. SAMPLE_SUFFIX)
    announce(id, status)
  end
end
local function queue(id)
  return QUEUES[redis.call('HGET', record(id), 'runs_on')] or QUEUE -- a newer version may have more kinds
end
-- The priority of a job in the queue, as text. Kinds in LAST wait half a step behind the other jobs of their priority.
local function rank(id)
  local priority = redis.call('HGET', record(id), 'priority') or '0'
  return LAST[kind(id)] and tostring(tonumber(priority) - 0.5) or priority
end
-- Add a job to its queue. Within one priority callers take turns: a job's turn is one after its caller's last, but
-- not before the current turn (start-time fair queueing, Goyal et al. 1996). So beside a hundred jobs of one caller,
-- a single job of another is next, and the jobs of a lone caller run in the order of acceptance.
local function line_up(id)
  local priority, caller = rank(id), redis.call('HGET', record(id), 'caller') or ''
  local served, own = unpack(redis.call('HMGET', TURNS, priority, priority .. ':' .. caller))
  local turn = math.max(tonumber(served or 0), tonumber(own or 0))
  redis.call('HSET', TURNS, priority .. ':' .. caller, turn + 1)
  redis.call('HSET', record(id), 'turn', turn)
  redis.call('ZADD', queue(id), string.format('%.0f', turn - priority * PRIORITY_WEIGHT), id)
end
local function leave(id) -- its queue
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
local function go_first(id) -- before all waiting jobs, and before those of any priority that come later
  go_before(id, '-inf', '+inf', -(HIGHEST_PRIORITY + 1) * PRIORITY_WEIGHT)
end
local function waiting_jobs()
  local ids = redis.call('ZRANGE', DELAYED, 0, -1)
  for _, key in pairs(QUEUES) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do table.insert(ids, id) end
  end
  return ids
end
local function go_to_front(id) -- before the jobs of its priority
  local base, range = -tonumber(rank(id)) * PRIORITY_WEIGHT, PRIORITY_WEIGHT / 4
  go_before(id, string.format('%.0f', base - range), string.format('%.0f', base + range), base - 1)
end
-- Move the later jobs of its caller one turn forward, for a job that is cancelled before it ran.
local function give_back_turn(id)
  local job = redis.call('HMGET', record(id), 'caller', 'turn')
  local priority, caller, turn = rank(id), job[1] or '', tonumber(job[2])
  local next_turn = tonumber(redis.call('HGET', TURNS, priority .. ':' .. caller))
  if not turn or not next_turn or turn >= next_turn then return end
  redis.call('HSET', TURNS, priority .. ':' .. caller, next_turn - 1)
  for _, key in pairs(QUEUES) do
    for _, other in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      local theirs = redis.call('HMGET', record(other), 'caller', 'turn')
      local later = tonumber(theirs[2])
      if rank(other) == priority and (theirs[1] or '') == caller and later and later > turn then
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
