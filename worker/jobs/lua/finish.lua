#!lua flags=allow-oom
-- ARGV: id, fence, status, error or '', lasting trouble or '', then the states that may precede this status.
-- End the job, or put it at the front of its priority; if it was cancelled before, it ends as cancelled instead. If the
-- response is lost, the call is repeated: it then changes nothing and has the same result. Returns the job's new state,
-- or nil if the job is lost.
local id, fence, status = ARGV[1], ARGV[2], ARGV[3]
local job = redis.call('HMGET', record(id), 'status', 'fence')
local ends_instead = status == STATUS.QUEUED and (job[1] == STATUS.CANCELLING or job[1] == STATUS.CANCELLED)
if ends_instead then status = STATUS.CANCELLED end
if job[1] == status and job[2] == fence and (ENDED[status] or status == STATUS.QUEUED) then return status end
local held = held_status(id, fence)
if not held then return false end
local legal = ends_instead
for i = 6, #ARGV do legal = legal or held == ARGV[i] end
if not legal then return false end
redis.call('HDEL', record(id), 'lost', 'seen_at')
redis.call('ZREM', LEASES, id)
if ARGV[4] ~= '' then redis.call('HSET', record(id), 'error', ARGV[4]) end
if status == STATUS.QUEUED then go_to_front(id) else redis.call('HSET', record(id), 'ended_at', now) end
become(id, status, now, ARGV[5])
return status
