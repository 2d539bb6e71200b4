-- ARGV: id, bound, 1 if shares count, context of a trace or ''. Queue a job again that failed or was cancelled.
-- Returns 'full', 'share', 'deleting', its new state, or nil if there is no such job.
local id = ARGV[1]
local status = redis.call('HGET', record(id), 'status')
if redis.call('HEXISTS', record(id), 'deleting') == 1 then return 'deleting' end
if status == STATUS.FAILED or status == STATUS.CANCELLED then
  if waiting() >= tonumber(ARGV[2]) then return 'full' end
  local caller = redis.call('HGET', record(id), 'caller')
  if ARGV[3] == '1' and caller and exceeds_share(caller, tonumber(ARGV[2])) then return 'share' end
  status = STATUS.QUEUED
  redis.call('HDEL', record(id), 'ended_at', 'error', 'lost')
  if (ARGV[4] or '') ~= '' then redis.call('HSETNX', record(id), 'traceparent', ARGV[4]) end
  become(id, status)
  line_up(id)
end
return status
