-- ARGV: id, 1 if the name changes, the folded name, 1 if the tags change, the folded tags, then field, value, ...
-- Write labels of a job, and its line if the index has it. Returns nil if there is no such job.
local id = ARGV[1]
if redis.call('EXISTS', record(id)) == 0 then return false end
redis.call('HSET', record(id), unpack(ARGV, 6))
local line = redis.call('HGET', LINES, id)
if line then
  local name, tags = string.match(line, '^([^\31]*)\31(.*)$')
  if ARGV[2] == '1' then name = ARGV[3] end
  if ARGV[4] == '1' then tags = ARGV[5] end
  set_line(id, name .. '\31' .. tags)
end
return 1
