#!lua flags=allow-oom
-- ARGV: id, epoch, id, epoch, ... Mark checkpoints as deleted to stay within the store's budget.
for i = 1, #ARGV, 2 do
  if redis.call('EXISTS', record(ARGV[i])) == 1 then
    redis.call('HSET', record(ARGV[i]), THINNED .. ARGV[i + 1], now)
  end
end
