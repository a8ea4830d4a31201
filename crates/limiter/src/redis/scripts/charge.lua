-- Charges (or, negative, credits) quota that was used beside the gateways: each entry of the ledger once, by its place
-- in it. ARGV[2] the place, ARGV[3] the key's id, if the entry has one.

local position = read(ARGV[2])[1]
local found = false
for _, key in ipairs({'', ARGV[3]}) do
  local text = redis.call('HGET', STATE, 'q' .. key)
  if text then
    local quota = quota_read(text)
    found = found or key == ''
    now = max(redis_now, quota.seen)
    quota_charge(quota, period_start, period_end, cost, position)
    quota_write({quota = quota, key = key})
  end
end
if not found then
  -- A seed that was read from the ledger before this entry must not be believed.
  local text = redis.call('HGET', STATE, 'p')
  write('p', {max(position, text and read(text)[1] or 0)})
end
if #writes > 0 then
  redis.call('HSET', STATE, unpack(writes))
end
if not found then
  redis.call('PEXPIRE', STATE, string.format('%.0f', keep_ms))
end
return 0
