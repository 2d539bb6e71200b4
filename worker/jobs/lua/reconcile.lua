-- ARGV: losses after which a job fails, first back-off in seconds, longest back-off, error of a job that fails,
-- default seconds of a lease, trouble of a job that is queued again. Queue jobs whose worker was lost, and jobs
-- whose back-off is over. A deadline too far in the future was set by a clock that has been corrected since: it is
-- replaced by the latest valid one. A claim whose lease was never renewed does not count as a lost worker: the
-- response to the claim was lost. Returns id, outcome, id, outcome, ...
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
  local status, trouble = false, ''
  if job[1] == STATUS.CANCELLING then
    status = STATUS.CANCELLED
  elseif job[1] == STATUS.RUNNING then
    local lost = number(job[2])
    if job[5] then
      lost = (job[3] == job[4]) and lost + 1 or 1
      redis.call('HSET', record(id), 'lost', lost)
      if job[3] then redis.call('HSET', record(id), 'saved_when_lost', job[3]) end
    end
    if lost >= tonumber(ARGV[1]) then
      status = STATUS.FAILED
      redis.call('HSET', record(id), 'error', ARGV[4])
    else
      status = STATUS.QUEUED
      if lost > 1 then
        redis.call('ZADD', DELAYED, now + math.min(ARGV[2] * 2 ^ (lost - 2), ARGV[3]), id)
      else
        go_to_front(id)
      end
      if job[5] then trouble = ARGV[6] end
    end
  end
  if status then
    if status ~= STATUS.QUEUED then redis.call('HSET', record(id), 'ended_at', now) end
    become(id, status, job[5] or '0', trouble) -- after it was last seen, the worker did not run it
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
