-- Whether one more job of a caller exceeds its share: a caller never has more waiting jobs than there are free places.
-- So no caller fills the queue, and n callers get equal shares of 1 / (n + 1) (dynamic thresholds, Choudhury and Hahne
-- 1998).
local function exceeds_share(caller, bound)
  local ids, own = waiting_jobs(), 0
  for _, id in ipairs(ids) do
    if redis.call('HGET', record(id), 'caller') == caller then own = own + 1 end
  end
  return own >= bound - #ids
end
