-- Corrects what was charged in a period, once it is known what a call took: gives units back (negative), or counts
-- more. ARGV[2] and on: whose quotas, as they stand in field names: empty for the account's, else a key's or a
-- meter's id. What has no state learns it from the ledger; answers 0 where that is the first of them, else 1.

local found = 0
for index = 2, #ARGV do
  local text = redis.call('HGET', STATE, 'q' .. ARGV[index])
  if text then
    local quota = quota_read(text)
    found = index == 2 and 1 or found
    now = max(redis_now, quota.seen)
    quota_settle(quota, period_start, period_end, cost)
    quota_write({quota = quota, key = ARGV[index]})
  end
end
if #writes > 0 then
  redis.call('HSET', STATE, unpack(writes))
end
return found
