-- ARGV: id, place, bound, idempotency key or '', fingerprint of the order, checksum of the request or '', the caller or
-- '' if shares do not count, then field, value, ... of the record. Accept a job: record and place in the queue,
-- together. Asked twice, since an answer may be lost, it does it once.
-- Returns what became of it, the job's id, when it was accepted, and which workers are there.
local id, before = ARGV[1], ARGV[4]
if before ~= '' then
  local known = redis.call('HMGET', before, 'fingerprint', 'job', 'request')
  if known[1] and redis.call('EXISTS', record(known[2])) == 1 then -- else that job was deleted
    local same = known[1] == ARGV[5]
    if known[3] and ARGV[6] ~= '' then same = known[3] == ARGV[6] end
    return {same and 'known' or 'other', known[2]}
  end
end
if redis.call('EXISTS', record(id)) == 0 then
  if waiting() >= tonumber(ARGV[3]) then return {'full'} end
  if ARGV[7] ~= '' and exceeds_share(ARGV[7], tonumber(ARGV[3])) then return {'share'} end
  redis.call('HSET', record(id), 'created_at', now, unpack(ARGV, 8))
  redis.call('SET', ACCEPTED, redis.call('ZCARD', JOBS), 'NX') -- earlier versions did not count
  redis.call('INCR', ACCEPTED)
  redis.call('ZADD', JOBS, ARGV[2], id)
  redis.call('ZADD', list(id), ARGV[2], id)
  if before ~= '' then
    redis.call('HSET', before, 'fingerprint', ARGV[5], 'job', id)
    if ARGV[6] ~= '' then redis.call('HSET', before, 'request', ARGV[6]) else redis.call('HDEL', before, 'request') end
    redis.call('EXPIRE', before, 86400)
  end
  become(id, STATUS.QUEUED)
  line_up(id)
end
return {'created', id, redis.call('HGET', record(id), 'created_at'), redis.call('ZRANGE', WORKERS, 0, -1)}
