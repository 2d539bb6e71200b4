#!lua flags=allow-oom
-- ARGV: seconds of the lease, longest wait between attempts in seconds. Claim the message that is due first: no other
-- sender gets it until the lease ends. A time too far in the future was set by a clock that has been corrected since.
-- Returns its id, the time, its fields, and kind and configuration of its job; or nil if none is due.
local latest = '(' .. string.format('%.6f', now + math.max(ARGV[1], ARGV[2]) + 1)
for _, id in ipairs(redis.call('ZRANGE', OUTBOX, latest, '+inf', 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZADD', OUTBOX, now, id)
end
while true do
  local id = redis.call('ZRANGE', OUTBOX, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not id then return false end
  local job = redis.call('HGET', MESSAGE_PREFIX .. id, 'job')
  if job and redis.call('EXISTS', record(job)) == 1 then
    redis.call('ZADD', OUTBOX, now + ARGV[1], id)
    redis.call('HINCRBY', MESSAGE_PREFIX .. id, 'attempts', 1)
    return {id, now, redis.call('HGETALL', MESSAGE_PREFIX .. id), kind(job), redis.call('HGET', record(job), 'config')}
  end
  redis.call('ZREM', OUTBOX, id)
  redis.call('DEL', MESSAGE_PREFIX .. id)
end
