-- ARGV: id, name of the claim, lowest token, seconds of the lease, worker, its parent process. Claim a job with a token
-- higher than all earlier ones; state, token and lease change together. If the response is lost, the claim is repeated
-- under the same name and gets the same token. Tokens are compared as decimal text: Lua's numbers are exact only up to
-- 2^53. Returns the token, the job's record and its epochs, or nil if the job can no longer be claimed.
local id, name = ARGV[1], ARGV[2]
local job = redis.call('HMGET', record(id), 'status', 'turn', 'claim', 'fence')
local function answer(fence)
  return {fence, redis.call('HGETALL', record(id)), redis.call('HGETALL', epochs(id))}
end
if (job[1] == STATUS.RUNNING or job[1] == STATUS.CANCELLING) and job[3] == name then
  redis.call('ZADD', LEASES, now + ARGV[4], id)
  return answer(job[4])
end
local score = redis.call('ZSCORE', queue(id), id)
if job[1] ~= STATUS.QUEUED or not score or job[3] == name then return false end -- each name claims once
redis.call('ZREM', queue(id), id)
local priority, turn = rank(id), number(job[2])
if tonumber(score) == turn - priority * PRIORITY_WEIGHT then redis.call('HSET', TURNS, priority, turn) end
if waiting() == 0 then redis.call('DEL', TURNS) end
local highest, lowest = redis.call('GET', FENCE) or '0', ARGV[3]
if #highest < #lowest or (#highest == #lowest and highest < lowest) then redis.call('SET', FENCE, lowest) end
redis.call('INCR', FENCE)
local fence = redis.call('GET', FENCE)
redis.call('HSET', record(id), 'fence', fence, 'claim', name, 'worker', ARGV[5], 'parent', ARGV[6], 'lease', ARGV[4])
redis.call('HSETNX', record(id), 'started_at', now)
if redis.call('HINCRBY', record(id), 'attempts', 1) == 1 then redis.call('HSET', record(id), 'seconds_running', 0) end
redis.call('HDEL', record(id), 'ended_at', 'error', 'seen_at')
redis.call('ZADD', LEASES, now + ARGV[4], id)
become(id, STATUS.RUNNING)
return answer(fence)
