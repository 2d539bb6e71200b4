#!lua flags=allow-oom
-- ARGV: id, fence, seconds. Extend the lease to that time from now, and record that the worker was seen.
-- Returns the job's state, or nil if the job is lost.
local held = held_status(ARGV[1], ARGV[2])
if not held then return false end
redis.call('ZADD', LEASES, now + ARGV[3], ARGV[1])
redis.call('HSET', record(ARGV[1]), 'seen_at', now, 'lease', ARGV[3])
return held
