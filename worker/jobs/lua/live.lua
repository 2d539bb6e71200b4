-- ARGV: id, fence, seconds until it expires, longest list, losses as JSON or '', then epoch, batch and PNG of a sample.
-- Add losses and a sample of a running job. Returns the number of the newest entry, or nil if the job is lost.
if not held_status(ARGV[1], ARGV[2]) then return false end
local live, sample = record(ARGV[1]) .. LIVE_SUFFIX, record(ARGV[1]) .. SAMPLE_SUFFIX
local number = redis.call('HINCRBY', sample, 'entries', 1)
if ARGV[5] ~= '' then
  redis.call('RPUSH', live, number .. ' ' .. ARGV[5])
  redis.call('LTRIM', live, -ARGV[4], -1)
end
if #ARGV > 5 then redis.call('HSET', sample, 'number', number, 'epoch', ARGV[6], 'batch', ARGV[7], 'png', ARGV[8]) end
redis.call('EXPIRE', live, ARGV[3])
redis.call('EXPIRE', sample, ARGV[3])
return number
