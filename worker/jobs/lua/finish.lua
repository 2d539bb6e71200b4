#!lua flags=allow-oom
-- ARGV: id, fence, status, error or '', lasting trouble or '', then the states that may precede this status.
-- End the job, or put it at the front of its priority; if it was cancelled before, it ends as cancelled instead. If the
-- response is lost, the call is repeated: it then changes nothing and has the same result. Returns the job's new state,
-- or nil if the job is lost.
local id, fence, status = ARGV[1], ARGV[2], ARGV[3]
local job = redis.call('HMGET', record(id), 'status', 'fence')
local is_back = status == STATUS.QUEUED
if job[2] == fence and (ENDED[status] or is_back) then
  if job[1] == status or (is_back and job[1] == STATUS.CANCELLED) then return job[1] end
end
local held = held_status(id, fence)
if not held then return false end
if is_back and held == STATUS.CANCELLING then status = STATUS.CANCELLED end
local legal = is_back and status == STATUS.CANCELLED
for i = 6, #ARGV do legal = legal or held == ARGV[i] end
if not legal then return false end
redis.call('HDEL', record(id), 'lost', 'seen_at')
redis.call('ZREM', LEASES, id)
if ARGV[4] ~= '' then redis.call('HSET', record(id), 'error', ARGV[4]) end
if status == STATUS.QUEUED then go_to_front(id) else redis.call('HSET', record(id), 'ended_at', now) end
become(id, status, now, ARGV[5])
return status
