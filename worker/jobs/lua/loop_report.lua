-- Store the states of the loops of a process.
local function report(process, states)
  redis.call('HSET', LOOPS, process, now .. ' ' .. states)
  redis.call('EXPIRE', LOOPS, 3600)
end
