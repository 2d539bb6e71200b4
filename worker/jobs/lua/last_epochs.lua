-- ARGV: ids. Return the number of the last finished epoch of each job, 0 if it has none.
local found = {}
for i, id in ipairs(ARGV) do found[i] = last_epoch(id) end
return found
