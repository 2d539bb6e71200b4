#!lua flags=allow-oom
-- ARGV: process, the states of its loops as JSON. Record that a training process is live, and remove those not seen for
-- an hour.
report(ARGV[1], ARGV[2])
redis.call('ZADD', PULSES, now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', PULSES, '-inf', now - 3600)
redis.call('EXPIRE', PULSES, 3600)
