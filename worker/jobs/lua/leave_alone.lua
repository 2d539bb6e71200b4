-- ARGV: id, why this version does not understand the record. Set it as the trouble of a waiting job.
local job = redis.call('HMGET', record(ARGV[1]), 'status', 'trouble')
if job[1] == STATUS.QUEUED and job[2] ~= ARGV[2] then
  redis.call('HSET', record(ARGV[1]), 'trouble', ARGV[2])
  add_event(ARGV[1], 'trouble', ARGV[2])
end
