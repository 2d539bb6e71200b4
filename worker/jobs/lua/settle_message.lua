#!lua flags=allow-oom
-- ARGV: message, number of the attempt; 1 if it is final, 0 if it failed, 2 if none was made; seconds until the next
-- attempt, seconds after the end of the job at which a failing message is given up, the trouble of its job then. Record
-- the outcome of an attempt. A final one counts even if another sender has claimed the message since.
-- Returns 'final', 'waits', 'given up', or nil if the message is another sender's or no longer exists.
local id = ARGV[1]
local sent = redis.call('HMGET', MESSAGE_PREFIX .. id, 'job', 'attempts', 'ended_at')
local job, result = sent[1], 'final'
if not job then return false end
if ARGV[3] ~= '1' then
  if sent[2] ~= ARGV[2] then return false end
  if ARGV[3] == '2' then redis.call('HINCRBY', MESSAGE_PREFIX .. id, 'attempts', -1) end
  if ARGV[3] == '2' or now - sent[3] < tonumber(ARGV[5]) then
    redis.call('ZADD', OUTBOX, now + ARGV[4], id)
    return 'waits'
  end
  result = 'given up'
  local known = redis.call('HMGET', record(job), 'status', 'trouble')
  if ENDED[known[1]] then
    local trouble = (known[2] or '') ~= '' and known[2] .. '; ' .. ARGV[6] or ARGV[6]
    redis.call('HSET', record(job), 'trouble', trouble)
    add_event(job, 'trouble', trouble)
  end
end
redis.call('ZREM', OUTBOX, id)
redis.call('DEL', MESSAGE_PREFIX .. id)
return result
