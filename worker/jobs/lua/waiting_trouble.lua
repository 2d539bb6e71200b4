-- ARGV: why no job is claimed or '', then the queues (any, cpu, gpu). Note it on the first jobs that wait in these
-- queues and have no other trouble; '' removes the note.
local PREFIX = 'the store cannot be used'
for i = 2, #ARGV do
  for _, id in ipairs(redis.call('ZRANGE', QUEUES[ARGV[i]], 0, 99)) do
    local trouble = redis.call('HGET', record(id), 'trouble')
    local is_ours = trouble and string.sub(trouble, 1, #PREFIX) == PREFIX
    if ARGV[1] == '' and is_ours then
      redis.call('HDEL', record(id), 'trouble')
      add_event(id, 'trouble', '')
    elseif ARGV[1] ~= '' and (is_ours or not trouble) and trouble ~= PREFIX .. ': ' .. ARGV[1] then
      redis.call('HSET', record(id), 'trouble', PREFIX .. ': ' .. ARGV[1])
      add_event(id, 'trouble', PREFIX .. ': ' .. ARGV[1])
    end
  end
end
