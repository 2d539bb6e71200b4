-- ARGV: id, its name and tags as they were read or '', its line; and so on. Add jobs to the index, unless they are in
-- it or have been labelled since.
for i = 1, #ARGV, 4 do
  local id = ARGV[i]
  local labels = redis.call('HMGET', record(id), 'name', 'tags', 'status')
  local is_current = (labels[1] or '') == ARGV[i + 1] and (labels[2] or '') == ARGV[i + 2]
  if labels[3] and is_current and redis.call('HEXISTS', LINES, id) == 0 then
    set_line(id, ARGV[i + 3])
    set_ranks(id, redis.call('HVALS', epochs(id)))
  end
end
