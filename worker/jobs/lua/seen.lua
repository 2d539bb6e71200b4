#!lua flags=allow-oom
-- ARGV: worker, seconds. Record that a worker is live, and remove those not seen for that time. A time in the future
-- was set by a clock that has been corrected since.
for _, worker in ipairs(redis.call('ZRANGE', WORKERS, '(' .. string.format('%.6f', now + 1), '+inf', 'BYSCORE')) do
  redis.call('ZADD', WORKERS, now, worker)
end
redis.call('ZADD', WORKERS, now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', WORKERS, '-inf', now - ARGV[2])
redis.call('EXPIRE', WORKERS, math.ceil(ARGV[2]))
