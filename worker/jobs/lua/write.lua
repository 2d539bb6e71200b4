-- ARGV: id, fence, kind of event, its data, epoch number or '', then field, value, ...
-- Write fields and publish an event. Returns the job's state, or nil if the job is lost.
local held = held_status(ARGV[1], ARGV[2])
if not held then return false end
redis.call('HSET', record(ARGV[1]), 'seen_at', now)
if ARGV[5] ~= '' then
  redis.call('HSET', epochs(ARGV[1]), ARGV[5], ARGV[4])
  if redis.call('HEXISTS', LINES, ARGV[1]) == 1 then set_ranks(ARGV[1], {ARGV[4]}) end
end
if #ARGV > 5 then redis.call('HSET', record(ARGV[1]), unpack(ARGV, 6)) end
if ARGV[3] ~= '' then add_event(ARGV[1], ARGV[3], ARGV[4]) end
return held
