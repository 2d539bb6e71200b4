-- ARGV: parent process. Return the jobs that its training processes hold: id, training process, ...
local held = {}
for _, id in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do
  local job = redis.call('HMGET', record(id), 'parent', 'worker')
  if job[1] == ARGV[1] then
    table.insert(held, id)
    table.insert(held, job[2])
  end
end
return held
