-- ARGV: the queues of the helper. Find the oldest claim that accepts helpers and has a free part, and remove those that
-- no longer run. Returns id, fence, code, order and queue, or nil.
local takes = {}
for i = 1, #ARGV do takes[ARGV[i]] = true end
local found = redis.call('ZRANGE', HELPING, 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  local id = found[i]
  local job = redis.call('HMGET', record(id), 'status', 'fence', 'code', 'order', 'runs_on')
  local runs_on = job[5] or 'any'
  if job[1] ~= STATUS.RUNNING or tonumber(job[2]) ~= tonumber(found[i + 1]) then
    redis.call('ZREM', HELPING, id)
    redis.call('DEL', parts(id))
  elseif takes[runs_on] then
    local first = first_part(id)
    if first[2] and tonumber(first[2]) <= tonumber(now) then return {id, job[2], job[3], job[4], runs_on} end
  end
end
return false
