#!lua flags=allow-oom
-- ARGV: id, training process that has ended. End its lease, unless another process holds the job now.
local id = ARGV[1]
if redis.call('HGET', record(id), 'worker') ~= ARGV[2] or not redis.call('ZSCORE', LEASES, id) then return false end
redis.call('ZADD', LEASES, 0, id)
return 1
