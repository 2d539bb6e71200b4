local function first_part(id) -- the part that is free, or becomes free first, and when
  local longest = number(redis.call('HGET', record(id), 'part_seconds'))
  local ahead = '(' .. string.format('%.6f', now + longest + 1)
  for _, part in ipairs(redis.call('ZRANGE', parts(id), ahead, '+inf', 'BYSCORE')) do
    redis.call('ZADD', parts(id), 0, part) -- a clock that was ahead set this deadline
  end
  return redis.call('ZRANGE', parts(id), 0, 0, 'WITHSCORES')
end
