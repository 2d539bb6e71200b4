-- ARGV: id, fence, code, then the names of the missing parts, in order.
-- Accept helpers. Returns 1, or nil if the job is lost or is being cancelled.
local held = held_status(ARGV[1], ARGV[2])
if held ~= STATUS.RUNNING then return false end
local id = ARGV[1]
redis.call('DEL', parts(id))
for i = 4, #ARGV do redis.call('ZADD', parts(id), i - 4, ARGV[i]) end
redis.call('HSET', record(id), 'code', ARGV[3])
redis.call('ZADD', HELPING, ARGV[2], id)
return 1
