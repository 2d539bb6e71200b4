-- ARGV: number of queues, the worker's queues (any, cpu, gpu), then ids to skip.
-- Find the next job without claiming it. Returns its id, its record and its epochs, or nil.
local takes, skipped, skips = tonumber(ARGV[1]), {}, #ARGV - ARGV[1] - 1
for i = takes + 2, #ARGV do skipped[ARGV[i]] = true end
local function head(key)
  while true do
    local found, stale = redis.call('ZRANGE', key, 0, skips, 'WITHSCORES'), false
    for i = 1, #found, 2 do
      local id = found[i]
      if redis.call('HGET', record(id), 'status') ~= STATUS.QUEUED then
        redis.call('ZREM', key, id)
        stale = true
      elseif not skipped[id] then
        return id, tonumber(found[i + 1])
      end
    end
    if not stale then return nil end
  end
end
local id, score
for i = 2, takes + 1 do
  local other, at = head(QUEUES[ARGV[i]])
  if other and (not id or at < score or (at == score and other < id)) then id, score = other, at end
end
if not id then return false end
return {id, redis.call('HGETALL', record(id)), redis.call('HGETALL', epochs(id))}
