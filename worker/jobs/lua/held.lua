-- Return the status of a job if this claim holds it, else nil.
local function held_status(id, fence)
  local job = redis.call('HMGET', record(id), 'status', 'fence')
  if job[2] == fence and (job[1] == STATUS.RUNNING or job[1] == STATUS.CANCELLING) then return job[1] end
end
