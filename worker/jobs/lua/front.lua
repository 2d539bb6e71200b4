-- ARGV: id. Make a waiting job the next to run. Returns the job's state, or nil.
local status = redis.call('HGET', record(ARGV[1]), 'status')
if status == STATUS.QUEUED then go_first(ARGV[1]) end
return status
