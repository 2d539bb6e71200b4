-- Functions that keep the index of lists. Each job has a line, which a search looks at: its folded name, a separator
-- and its folded tags. Sorted sets have a rank of each job, which contains its place in the order of acceptance, so
-- that no two are equal.
local PLACES = 2 ^ 30
local UNJUDGED = 2 ^ 22 - 1 -- the Frechet distance is ranked in thousandths
local function by(id, order)
  return list(id) .. ':by_' .. order
end
local function forget_line(id)
  local line = redis.call('HGET', LINES, id)
  if line then redis.call('ZREM', by(id, 'name'), string.match(line, '^[^\31]*') .. '\31' .. id) end
  redis.call('HDEL', LINES, id)
end
local function set_line(id, line)
  forget_line(id)
  redis.call('HSET', LINES, id, line)
  redis.call('ZADD', by(id, 'name'), 0, string.match(line, '^[^\31]*') .. '\31' .. id)
end
local function forget_ranks(id)
  forget_line(id)
  redis.call('ZREM', by(id, 'epochs'), id)
  redis.call('ZREM', by(id, 'frechet'), id)
end
-- Rank a job by its last finished epoch, and by the lowest distance of these records of epochs and those ranked before.
local function set_ranks(id, results)
  local place, best = number(redis.call('ZSCORE', JOBS, id)) % PLACES, UNJUDGED
  for _, result in ipairs(results) do
    local distance = tonumber(string.match(result, '"frechet_distance": ?([%d.eE+-]+)') or '')
    if distance then best = math.min(best, math.max(0, math.floor(distance * 1000))) end
  end
  redis.call('ZADD', by(id, 'epochs'), string.format('%.0f', last_epoch(id) * PLACES + place), id)
  redis.call('ZADD', by(id, 'frechet'), 'LT', string.format('%.0f', best * PLACES - place), id)
end
