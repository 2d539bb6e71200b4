-- ARGV: id, fence, part, field that counts. Mark a part as delivered to its owner.
-- Returns 1, or nil if the owner no longer waits for it.
local held = held_status(ARGV[1], ARGV[2])
if held ~= STATUS.RUNNING then return false end
if redis.call('ZREM', parts(ARGV[1]), ARGV[3]) == 1 then redis.call('HINCRBY', record(ARGV[1]), ARGV[4], 1) end
return 1
