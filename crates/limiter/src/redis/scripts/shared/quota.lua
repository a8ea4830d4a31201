-- The quota of a period.

local function overlaps(quota, from, to)
  return quota.from < to and from < quota.to
end

local function quota_roll(quota, from, to)
  if (quota.from == from and quota.to == to) or to <= quota.from then
    return
  end
  if not overlaps(quota, from, to) then
    quota.used = 0
  end
  quota.from, quota.to, quota.changed = from, to, true
end

local function quota_add(quota, units)
  quota.used = max(0, min(quota.used + units, UNITS_MAX))
  quota.changed = true
end

-- What was charged in a period, corrected: none is given back where that is over; what is counted where nothing has
-- opened it yet opens it.
local function quota_settle(quota, from, to, units)
  if units > 0 and from >= quota.to then
    quota_roll(quota, from, to)
  end
  if overlaps(quota, from, to) then
    quota_add(quota, units)
  end
end

-- A charge of another process, once by its position.
local function quota_charge(quota, from, to, units, position)
  if position > quota.position then
    quota.position, quota.changed = position, true
    quota_settle(quota, from, to, units)
  end
end

local function quota_read(text)
  local from, to, used, position, seen, epoch, bits = struct.unpack('<ddddddd', text)
  return {from = from, to = to, used = used, position = position, seen = seen, epoch = epoch, bits = bits}
end

local function quota_write(set)
  local quota = set.quota
  if quota and quota.changed then
    write('q' .. set.key, {quota.from, quota.to, quota.used, quota.position, now, quota.epoch, quota.bits})
  end
end
