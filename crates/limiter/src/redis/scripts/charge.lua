-- Charges (or, negative, credits) units that were used beside the gateways: each entry of the ledger once, by its
-- place in it. ARGV[2] the place; ARGV[3] and on: whose quotas, the first of which every call of that kind has: empty
-- for the account's, else a key's or a meter's id.

local position = read(ARGV[2])[1]
local found = false
for index = 3, #ARGV do
  local text = redis.call('HGET', STATE, 'q' .. ARGV[index])
  if text then
    local quota = quota_read(text)
    found = found or index == 3
    now = max(redis_now, quota.seen)
    quota_charge(quota, period_start, period_end, cost, position)
    quota_write({quota = quota, key = ARGV[index]})
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
-- Whatever else there is of the account is kept as long as it was to be.
if not found and redis.call('PTTL', STATE) < keep_ms then
  redis.call('PEXPIRE', STATE, string.format('%.0f', keep_ms))
end
return 0
