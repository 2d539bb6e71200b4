#!lua flags=allow-oom
-- ARGV: id, 'begin', 'keep' or 'end'. Delete the record of an ended job in two steps, with the deletion of its files
-- between them. Until the second step the job stays listed and cannot be resumed, so that an interrupted deletion
-- can be repeated. Returns the job's state and the token of its last claim, or nil if there is no such job. The
-- record is deleted only if the state is succeeded, failed or cancelled.
local id, step = ARGV[1], ARGV[2]
local job = redis.call('HMGET', record(id), 'status', 'fence', 'ends')
local status = job[1]
if not status then return false end
if ENDED[status] then
  if step == 'begin' then
    redis.call('HSETNX', record(id), 'deleting', now)
  elseif step == 'keep' then
    redis.call('HDEL', record(id), 'deleting')
  else
    leave(id)
    forget_ranks(id)
    local lists = {LEASES, list_of_status(id, status), list(id), JOBS}
    for _, key in ipairs(lists) do redis.call('ZREM', key, id) end
    for i = 1, number(job[3]) do
      redis.call('ZREM', OUTBOX, message(id, i))
      redis.call('DEL', MESSAGE_PREFIX .. message(id, i))
    end
    redis.call('DEL', record(id), epochs(id), record(id) .. ':parts') -- the last one is of earlier versions
  end
end
return {status, job[2] or '0'}
