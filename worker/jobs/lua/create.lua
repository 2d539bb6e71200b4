-- ARGV: id, place, bound, idempotency key or '', its fingerprint, the caller or '' if shares do not count, then field,
-- value, ... of the record. Accept a job: record and place in the queue, together. Asked twice, since an answer may be
-- lost, it does it once.
-- Returns what became of it, the job's id, when it was accepted, and which workers are there.
local id, before = ARGV[1], ARGV[4]
if before ~= '' then
  local known = redis.call('HMGET', before, 'fingerprint', 'job')
  if known[1] and redis.call('EXISTS', record(known[2])) == 1 then -- else that job was deleted
    if known[1] ~= ARGV[5] then return {'other', known[2]} end
    return {'known', known[2]}
  end
end
if redis.call('EXISTS', record(id)) == 0 then
  if waiting() >= tonumber(ARGV[3]) then return {'full'} end
  if ARGV[6] ~= '' and exceeds_share(ARGV[6], tonumber(ARGV[3])) then return {'share'} end
  redis.call('HSET', record(id), 'created_at', now, unpack(ARGV, 7))
  redis.call('ZADD', JOBS, ARGV[2], id)
  redis.call('ZADD', list(id), ARGV[2], id)
  if before ~= '' then
    redis.call('HSET', before, 'fingerprint', ARGV[5], 'job', id)
    redis.call('EXPIRE', before, 86400)
  end
  become(id, STATUS.QUEUED)
  line_up(id)
end
return {'created', id, redis.call('HGET', record(id), 'created_at'), redis.call('ZRANGE', WORKERS, 0, -1)}
