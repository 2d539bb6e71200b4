-- ARGV: id, the number of the last entry that the reader knows, the greatest number of losses to return.
-- Return the job's state and progress, the number of the newest entry, later losses, oldest first, and, if it is later,
-- the sample; or nil if there is no such job.
local id, after, limit = ARGV[1], number(ARGV[2]), number(ARGV[3])
local job = redis.call('HMGET', record(id), 'status', 'progress')
if not job[1] then return false end
local sample = redis.call('HMGET', record(id) .. SAMPLE_SUFFIX, 'entries', 'number', 'epoch', 'batch')
local newest = number(sample[1])
if after > newest then after = 0 end -- of an earlier execution of the job
local losses = redis.call('LRANGE', record(id) .. LIVE_SUFFIX, -math.min(limit, math.max(newest - after, 1)), -1)
local found = {job[1], job[2] or '', newest, losses}
if number(sample[2]) > after then
  for _, value in ipairs({sample[2], sample[3], sample[4], redis.call('HGET', record(id) .. SAMPLE_SUFFIX, 'png')}) do
    table.insert(found, value)
  end
end
table.insert(found, 5, after)
return found
