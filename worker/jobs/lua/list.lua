-- ARGV: order, kind of jobs, status or '', '1' for archived jobs, '0' for others or '' for both, folded tag or '', how
-- many to find, rank after which to begin or '', how many to look at, the checkpoint that is evaluated or '', then
-- folded words that each must be found.
-- Returns the rank after which to continue or '' at the end, then id, rank, id, rank, ...
local order, kind_of_jobs, status, archived, tag = unpack(ARGV, 1, 5)
local wanted, start, most, checkpoint = tonumber(ARGV[6]), ARGV[7] ~= '' and ARGV[7], tonumber(ARGV[8]), ARGV[9]
local listed = LISTS[kind_of_jobs]
local SEGMENT = 2 ^ 40 -- more than any rank
local CHUNK = 100 -- entries that are read at once
local function segments() -- key, number that is added to its scores, whether to omit the statuses of other segments
  if order ~= 'newest' and order ~= 'active' then return {{listed .. ':by_' .. order, 0}} end
  if status ~= '' then return {{listed .. ':' .. status, 0}} end
  if order == 'newest' then return {{listed, 0}} end
  local open = {STATUS.RUNNING, STATUS.CANCELLING, STATUS.QUEUED}
  local found = {}
  for i, each in ipairs(open) do table.insert(found, {listed .. ':' .. each, (4 - i) * SEGMENT}) end
  table.insert(found, {listed, 0, {[open[1]] = true, [open[2]] = true, [open[3]] = true}})
  return found
end
local function chunk(key, base, from) -- pairs of id and rank
  local pairs_found = {}
  if order == 'name' then
    local first = from and '(' .. from or '-'
    for _, member in ipairs(redis.call('ZRANGE', key, first, '+', 'BYLEX', 'LIMIT', 0, CHUNK)) do
      table.insert(pairs_found, {string.match(member, '[^\31]*$'), member})
    end
    return pairs_found
  end
  local bound, entries = from and '(' .. string.format('%.0f', from - base), nil
  if order == 'frechet' then
    entries = redis.call('ZRANGE', key, bound or '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, CHUNK, 'WITHSCORES')
  else
    entries = redis.call('ZRANGE', key, bound or '+inf', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, CHUNK, 'WITHSCORES')
  end
  for i = 1, #entries, 2 do
    table.insert(pairs_found, {entries[i], string.format('%.0f', entries[i + 1] + base)})
  end
  return pairs_found
end
local function lines_of(found) -- all at once, which is much faster
  if (tag == '' and #ARGV == 9) or #found == 0 then return {} end
  local ids = {}
  for i, each in ipairs(found) do ids[i] = each[1] end
  return redis.call('HMGET', LINES, unpack(ids))
end
local function has_words(id, line)
  if tag ~= '' and not string.find(line, '\30' .. tag .. '\30', 1, true) then return false end
  for i = 10, #ARGV do
    if not string.find(line, ARGV[i], 1, true) and string.sub(id, 1, #ARGV[i]) ~= ARGV[i] then return false end
  end
  return true
end
local function evaluates(order) -- the text is searched first, because most orders are of other checkpoints
  if not order or not string.find(order, checkpoint, 1, true) then return false end
  local is_json, decoded = pcall(cjson.decode, order)
  return is_json and type(decoded) == 'table' and decoded.checkpoint == checkpoint
end
local function matches(id, omitted, line)
  if not has_words(id, line or '') then return false end
  local job = redis.call('HMGET', record(id), 'status', 'archived', 'evaluation')
  if not job[1] then
    if order ~= 'newest' and order ~= 'active' then forget_ranks(id) end -- an older version deleted the job
    return false
  end
  if (omitted or {})[job[1]] or (status ~= '' and job[1] ~= status) then return false end
  if checkpoint ~= '' and not evaluates(job[3]) then return false end
  if archived ~= '' and (job[2] == '1') ~= (archived == '1') then return false end
  return true
end
local answer, looked, last = {''}, 0, start or ''
for _, segment in ipairs(segments()) do
  local key, base, omitted = unpack(segment, 1, 3)
  local from = start
  if order ~= 'name' and start then from = tonumber(start) end
  if order == 'active' and status == '' and from and from >= base + SEGMENT then from = nil end -- is all behind
  local passed = order == 'active' and status == '' and from and from < base
  while not passed do
    local found = chunk(key, base, from)
    local lines = lines_of(found)
    for i, each in ipairs(found) do
      if looked >= most or (#answer - 1) / 2 >= wanted then
        answer[1] = last
        return answer
      end
      looked, last, from = looked + 1, each[2], order == 'name' and each[2] or tonumber(each[2])
      if matches(each[1], omitted, lines[i]) then
        table.insert(answer, each[1])
        table.insert(answer, each[2])
      end
    end
    passed = #found < CHUNK
  end
end
return answer
