-- The limits of an account or of a key alone: read, begun, brought to now, debited, told.

-- Reads what the hash has of these limits, in one command, and what is outstanding.
local function load(sets)
  local fields = {'o'}
  for _, set in ipairs(sets) do
    fields[#fields + 1] = 'q' .. set.key
    fields[#fields + 1] = 'b' .. set.key
    for _, window in ipairs(set.windows) do
      fields[#fields + 1] = window.field
    end
  end
  local values = redis.call('HMGET', STATE, unpack(fields))
  if values[1] then
    outstanding, attention_at, live_leases = struct.unpack('<ddd', values[1])
  end
  local at = 2
  for _, set in ipairs(sets) do
    set.quota = values[at] and quota_read(values[at]) or nil
    if values[at + 1] and set.tokens >= 0 then
      local level, since, tokens, micros, burst = struct.unpack('<ddddd', values[at + 1])
      set.bucket = {level = level, at = since, tokens = tokens, micros = micros, burst = burst}
    end
    for index, window in ipairs(set.windows) do
      local text = values[at + 1 + index]
      window.is_known = text and true
      if text then
        window_read(window, text)
      end
    end
    at = at + 2 + #set.windows
  end
end

local function is_complete(set)
  if not set.quota or (set.tokens >= 0 and not set.bucket) then
    return false
  end
  for _, window in ipairs(set.windows) do
    if not window.is_known then
      return false
    end
  end
  return true
end

-- Begins what is missing as if it had never been used, for a subject that no ledger knows.
local function begin_fresh(set)
  if not set.quota then
    set.quota = {from = period_start, to = period_end, used = 0, position = 0, epoch = new_epoch, bits = set.bits}
    set.quota.changed = true
  end
  if set.tokens >= 0 and not set.bucket then
    local level = set.tokens > 0 and set.burst * set.micros or 0
    set.bucket = {level = level, at = now, tokens = set.tokens, micros = set.micros, burst = set.burst, changed = true}
  end
  for _, window in ipairs(set.windows) do
    if not window.is_known then
      window_empty(window)
      window.is_known, window.changed = true, true
    end
  end
end

-- A plan that no longer has a limit forgets it: should the limit return, what was spent meanwhile is missing in it.
local function forget_others(set)
  local kept = {['q' .. set.key] = true}
  if set.tokens >= 0 then
    kept['b' .. set.key] = true
  end
  for _, window in ipairs(set.windows) do
    kept[window.field], kept[window.body_field] = true, true
  end
  for _, field in ipairs(redis.call('HKEYS', STATE)) do
    local is_own = set.key ~= '' and string.sub(field, -#set.key) == set.key or set.key == '' and #field < 12
    if is_own and string.find(field, '^[bwW]') and not kept[field] then
      redis.call('HDEL', STATE, field)
    end
  end
  set.quota.bits, set.quota.changed = set.bits, true
end

-- The clock was set back: what lies ahead of it counts as made now.
local function rebase(set)
  if set.bucket then
    set.bucket.at, set.bucket.changed = min(set.bucket.at, now), true
  end
  for _, window in ipairs(set.windows) do
    if window.is_known and window.total > 0 and window.newest > now then
      local body, units, kept = window_body(window), window.units, 0
      for from = window.older * 16 - 15, 1, -16 do
        local newest, held = struct.unpack('<dd', body, from)
        if newest <= now then
          kept = from + 15
          break
        end
        units = units + held
      end
      window.older, window.newest, window.units = kept / 16, now, units
      window.oldest = window.older > 0 and struct.unpack('<d', body) or now
      window_set_body(window, string.sub(body, 1, kept))
    end
  end
end

-- Time as the state sees it: never backwards, unless the clock was set back.
local function see(sets)
  for _, set in ipairs(sets) do
    local seen = set.quota and set.quota.seen or 0
    if seen - now > SKEW_US then
      rebase(set)
      set.quota.changed, was_set_back = true, was_set_back or set.key == ''
    else
      now = max(now, seen)
    end
  end
end

-- Counts units that were spent at an instant in bucket and windows.
local function take_rates(set, units, at)
  if set.bucket then
    spend(set.bucket, units, at)
  end
  for _, window in ipairs(set.windows) do
    window_add(window, units, at)
  end
end

local function take(set, units)
  take_rates(set, units, now)
  quota_add(set.quota, units)
end

-- Units that these limits leave, without those held in leases.
local function left(set, held)
  local units = math.huge
  if set.bucket then
    units = min(units, floor(bucket_level(set.bucket) / set.bucket.micros) - held)
  end
  for _, window in ipairs(set.windows) do
    units = min(units, window.limit - window.total - held)
  end
  if set.limit >= 0 then
    units = min(units, set.limit - set.quota.used - held)
  end
  return units
end

-- What these limits have counted: the level, each window's total and when more fits, the quota.
local function report(set, asked, numbers)
  numbers[#numbers + 1] = set.bucket and bucket_level(set.bucket) or -1
  for _, window in ipairs(set.windows) do
    local remaining = max(0, window.limit - window.total)
    numbers[#numbers + 1] = window.total
    numbers[#numbers + 1] = window_room_at(window, max(remaining + 1, asked))
  end
  numbers[#numbers + 1] = set.quota.from
  numbers[#numbers + 1] = set.quota.to
  numbers[#numbers + 1] = set.quota.used
  numbers[#numbers + 1] = set.quota.position
end
