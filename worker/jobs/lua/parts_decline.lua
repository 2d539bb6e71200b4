-- ARGV: id, fence. Accept no more helpers, unless another worker has claimed the job and accepts them.
if tonumber(redis.call('ZSCORE', HELPING, ARGV[1]) or 0) == tonumber(ARGV[2]) then
  redis.call('ZREM', HELPING, ARGV[1])
  redis.call('DEL', parts(ARGV[1]))
end
