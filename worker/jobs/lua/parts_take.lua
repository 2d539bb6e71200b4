-- ARGV: id, fence, seconds. Take the first free part for that time.
-- Returns its name, or nil if no part is free or helpers are no longer accepted.
local held = held_status(ARGV[1], ARGV[2])
if held ~= STATUS.RUNNING then return false end
local first = first_part(ARGV[1])
if not first[2] or tonumber(first[2]) > tonumber(now) then return false end
if number(redis.call('HGET', record(ARGV[1]), 'part_seconds')) < tonumber(ARGV[3]) then
  redis.call('HSET', record(ARGV[1]), 'part_seconds', ARGV[3]) -- the longest time given to any worker
end
redis.call('ZADD', parts(ARGV[1]), now + ARGV[3], first[1])
return first[1]
