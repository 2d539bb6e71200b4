-- ARGV: ids. Add jobs to the lists of their kind and status, and remove them from all others.
for _, id in ipairs(ARGV) do
  local place, status = redis.call('ZSCORE', JOBS, id), redis.call('HGET', record(id), 'status')
  for _, other in pairs(STATUS) do
    redis.call('ZREM', list_of_status(id, other), id)
  end
  if place and status then
    redis.call('ZADD', list(id), place, id)
    redis.call('ZADD', list_of_status(id, status), place, id)
  end
end
