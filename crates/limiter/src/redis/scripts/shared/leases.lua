-- What nodes hold of an account: settled when it is due.

local function is_lease(field)
  return #field == 17 and string.sub(field, 1, 1) == 'l'
end

-- A node's lease, if it has one; read once, written by `save` where it was changed.
local function lease_of(field)
  local lease = leases[field]
  if lease == nil then
    local text = redis.call('HGET', STATE, field)
    local n = text and read(text)
    lease = n and {
      session = n[1], serial = n[2], seen = n[3], units = n[4], expires = n[5], presumed = n[6], presumed_at = n[7],
    } or false
    leases[field] = lease
  end
  return lease or nil
end

local function lease_write(field, lease)
  write(field, {
    lease.session, lease.serial, lease.seen, lease.units, lease.expires, lease.presumed, lease.presumed_at,
  })
end

-- When a lease needs attention next: to expire, to leave quota, to be forgotten.
local function lease_due(lease)
  if lease.units > 0 then
    return lease.expires
  end
  return lease.presumed > 0 and lease.presumed_at + DEAD_US or lease.expires + DAY_US
end

-- Counts the leases that nobody has reported until they expired as spent, and lets those go out of quota again whose
-- node is dead. Only where one is due: most calls read one number for it.
local function settle_leases(account)
  if attention_at == 0 or (now < attention_at and not was_set_back) then
    return
  end
  outstanding, attention_at, live_leases, leases_changed = 0, 0, 0, true
  for _, field in ipairs(redis.call('HKEYS', STATE)) do
    local lease = is_lease(field) and lease_of(field)
    if lease then
      if was_set_back then
        lease.expires = min(lease.expires, now + clip_us)
        lease.presumed_at, lease.changed = min(lease.presumed_at, now), true
      end
      if lease.units > 0 and lease.expires <= now then
        take_rates(account, lease.units, lease.expires)
        quota_add(account.quota, lease.units)
        lease.presumed, lease.presumed_at = lease.presumed + lease.units, lease.expires
        lease.units, lease.changed = 0, true
      end
      if lease.presumed > 0 and lease.presumed_at + DEAD_US <= now then
        quota_add(account.quota, -lease.presumed)
        lease.presumed, lease.changed = 0, true
      end
      local due = lease_due(lease)
      if due <= now then
        lease.is_over, lease.changed = true, true
      else
        attention_at = attention_at > 0 and min(attention_at, due) or due
      end
      if lease.units > 0 then
        outstanding, live_leases = outstanding + lease.units, live_leases + 1
      end
    end
  end
end

-- Opens the period of the call. A new one owes nothing for what was presumed spent in the one before.
local function roll(set)
  local was_from, was_to = set.quota.from, set.quota.to
  quota_roll(set.quota, period_start, period_end)
  if set.key == '' and attention_at > 0 and not overlaps(set.quota, was_from, was_to) then
    for _, field in ipairs(redis.call('HKEYS', STATE)) do
      local lease = is_lease(field) and lease_of(field)
      if lease and lease.presumed > 0 then
        lease.presumed, lease.changed = 0, true
      end
    end
  end
end

-- Brings everything to now and under the limits of now.
local function advance(sets)
  for _, set in ipairs(sets) do
    if set.bucket then
      bucket_advance(set.bucket, set)
    end
  end
  settle_leases(sets[1])
  for _, set in ipairs(sets) do
    for _, window in ipairs(set.windows) do
      window_advance(window)
    end
  end
end
