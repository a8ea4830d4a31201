-- Fills in what is missing from what the ledger tells; what is counted stays, whoever counted it. Answers 0 where the
-- ledger was read before the last charge, else 1. ARGV[3] the ledger's position; ARGV[4], ARGV[5] the key's id and
-- limits (empty: none); ARGV[6] the meter's id (empty: none), ARGV[7] what is told of it; then, for the account and then
-- the key, first its level, quota period and use, then for each window its slices, oldest first: how long ago (as seen by
-- who read the ledger, by one clock), units.

local account = limits_of(ARGV[2], '')
local sets = {account}
local told_at = {8}
if ARGV[4] ~= '' then
  sets[2], told_at[2] = limits_of(ARGV[5], ARGV[4]), 9 + #account.windows
end
if ARGV[6] ~= '' then
  sets[#sets + 1] = {key = ARGV[6], tokens = -1, micros = 1, burst = 0, limit = -1, bits = 0, windows = {}}
  told_at[#sets] = 7
end
load(sets)
see(sets)

local is_missing = false
for _, set in ipairs(sets) do
  is_missing = is_missing or not is_complete(set)
end
if not is_missing then
  return 1
end
local position = read(ARGV[3])[1]
local mark = redis.call('HGET', STATE, 'p')
mark = mark and read(mark)[1]
if position < max(account.quota and account.quota.position or 0, mark or 0) then
  return 0
end

local function seed(set, at)
  local told = read(ARGV[at])
  if set.tokens >= 0 and not set.bucket then
    set.bucket = {
      level = told[1], at = now, tokens = set.tokens, micros = set.micros, burst = set.burst, changed = true,
    }
  end
  for index, window in ipairs(set.windows) do
    if not window.is_known then
      window_empty(window)
      window.changed = true
      local slices, parts = read(ARGV[at + index]), {}
      for slice = 1, #slices, 2 do
        local newest, units = now - slices[slice], min(slices[slice + 1], UNITS_MAX - window.total)
        if window.total == 0 then
          window.oldest = newest
        else
          parts[#parts + 1] = struct.pack('<dd', window.newest, window.units)
        end
        window.newest, window.units, window.total = newest, units, window.total + units
      end
      window.older = #parts
      if #parts > 0 then
        window_set_body(window, table.concat(parts))
      end
    end
  end
  if not set.quota then
    set.quota = {
      from = told[2], to = told[3], used = told[4], position = position, epoch = new_epoch, bits = set.bits,
      changed = true,
    }
  end
end

-- Keys and meters that have not been called for a day, where their rates are as good as new: their quota is the
-- ledger's to tell.
local function forget_unused()
  for _, field in ipairs(redis.call('HKEYS', STATE)) do
    local key = string.sub(field, 2)
    if #field == 17 and string.sub(field, 1, 1) == 'q' and key ~= ARGV[4] and key ~= ARGV[6] then
      local is_idle = now - quota_read(redis.call('HGET', STATE, field)).seen > DAY_US
      local fields = {field}
      for _, other in ipairs(is_idle and redis.call('HKEYS', STATE) or {}) do
        local kind = string.sub(other, 1, 1)
        if #other > 16 and string.sub(other, -16) == key and string.find(kind, '[bwW]') then
          fields[#fields + 1] = other
          local n = kind ~= 'W' and read(redis.call('HGET', STATE, other))
          if kind == 'b' then
            is_idle = is_idle and (n[3] == 0 or now - n[2] >= (n[5] * n[4] - n[1]) / n[3])
          elseif kind == 'w' then
            local length = tonumber(string.match(other, '^w(%d+):')) * 1000000
            is_idle = is_idle and (n[1] == 0 or now - n[3] >= length)
          end
        end
      end
      if is_idle then
        redis.call('HDEL', STATE, unpack(fields))
      end
    end
  end
end

if #sets > 1 then
  forget_unused()
end
for index, set in ipairs(sets) do
  seed(set, told_at[index])
end
save(sets)
-- The account's own place says the same from now on, unless it was seeded before that charge.
if mark and mark <= account.quota.position then
  redis.call('HDEL', STATE, 'p')
end
return 1
