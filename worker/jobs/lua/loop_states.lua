#!lua flags=allow-oom
-- ARGV: process, the states of its loops as JSON. Store them, and delete reports that are older than an hour or,
-- because a clock was ahead, in the future.
report(ARGV[1], ARGV[2])
local all = redis.call('HGETALL', LOOPS)
for i = 1, #all, 2 do
  local at = tonumber(string.match(all[i + 1], '^[%d.]+'))
  if not at or at > now + 1 or at < now - 3600 then redis.call('HDEL', LOOPS, all[i]) end
end
