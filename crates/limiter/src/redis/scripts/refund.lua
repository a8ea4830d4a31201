-- Gives quota back into the period it was charged in, to the account and the key that called. ARGV[2] the key's id, if
-- it has limits of its own. What has no state learns it from the ledger.

for _, key in ipairs({'', ARGV[2]}) do
  local text = redis.call('HGET', STATE, 'q' .. key)
  if text then
    local quota = quota_read(text)
    now = max(redis_now, quota.seen)
    if overlaps(quota, period_start, period_end) then
      quota_add(quota, -cost)
      quota_write({quota = quota, key = key})
    end
  end
end
if #writes > 0 then
  redis.call('HSET', STATE, unpack(writes))
end
return 0
