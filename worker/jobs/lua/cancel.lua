-- ARGV: id. Cancel a job: at once if it waits, through its worker if it runs.
-- Returns its new state, or nil if there is no such job.
local id = ARGV[1]
local status = redis.call('HGET', record(id), 'status')
if status == STATUS.QUEUED then
  leave(id)
  give_back_turn(id)
  if waiting() == 0 then redis.call('DEL', TURNS) end
  status = STATUS.CANCELLED
  redis.call('HSET', record(id), 'ended_at', now)
  become(id, status)
elseif status == STATUS.RUNNING then
  status = STATUS.CANCELLING
  become(id, status)
end
return status
