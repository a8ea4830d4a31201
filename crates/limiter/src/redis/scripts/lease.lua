-- One exchange about a lease: takes the node's report, frees what it no longer holds, debits the call at hand, and
-- grants units ahead. ARGV[3] the node's id, ARGV[4] what it tells: serial, session, epoch (negative: none yet),
-- units spent, the period they were charged in, when the last was spent, units kept, units wished for, the lease's time
-- to live, and whether it only reports. What the rules are stands in protocol.rs.

-- The limits as the state has them, whatever plan holds now: for a report that must not bring a former one back.
local function limits_held()
  local set = {key = '', tokens = -1, micros = 1, burst = 0, limit = -1, bits = 0, windows = {}}
  local values = redis.call('HMGET', STATE, 'q', 'b')
  if values[1] then
    set.bits = quota_read(values[1]).bits
  end
  if values[2] then
    local numbers = read(values[2])
    set.tokens, set.micros, set.burst = numbers[3], numbers[4], numbers[5]
  end
  for _, field in ipairs(redis.call('HKEYS', STATE)) do
    local seconds = string.match(field, '^w(%d+)$')
    if seconds then
      set.windows[#set.windows + 1] = {
        length = seconds * 1000000, limit = UNITS_MAX, field = field, body_field = 'W' .. seconds,
      }
    end
  end
  return set
end

local ask = read(ARGV[4])
local reports_only = ask[11] == 1
local account = reports_only and limits_held() or limits_of(ARGV[2], '')
local sets = {account}
local serial, session, epoch, spent_total, spent_from, spent_to = ask[1], ask[2], ask[3], ask[4], ask[5], ask[6]
local last_spend, keep, want, ttl_us = ask[7], ask[8], ask[9], ask[10]
local field = 'l' .. ARGV[3]

local refusal = open(sets)
if refusal then
  return refusal
end
local quota = account.quota
local lease = lease_of(field)
if lease and serial <= lease.serial then
  save(sets)
  return answer(OVERTAKEN, sets, 0, 0, 0, 0, 0)
end

local was_live = lease and lease.units > 0
local is_known = lease and lease.session == session
local is_valid = is_known and (epoch < 0 or epoch == quota.epoch)
local kept, is_late = 0, false
local function free(units)
  if units ~= 0 then
    outstanding, leases_changed = outstanding - units, true
  end
end

if is_valid then
  local delta = spent_total - lease.seen
  local charged = overlaps(quota, spent_from, spent_to) and delta or 0
  if lease.presumed > 0 then
    -- It has expired and was counted as spent: quota alone is put right.
    is_late = keep > 0
    local still = max(0, min(keep, lease.presumed - max(delta, 0)))
    quota_add(quota, charged + still - lease.presumed)
    lease.presumed = still
  else
    local of_lease = max(0, min(delta, lease.units))
    if of_lease > 0 then
      take_rates(account, of_lease, min(last_spend, now))
    end
    if charged ~= 0 then
      quota_add(quota, charged)
    end
    kept = keep + of_lease <= lease.units and keep or 0
  end
elseif lease then
  lease.presumed = 0
end
if lease then
  free(lease.units - kept)
  lease.units = kept
else
  lease = {units = 0, presumed = 0, presumed_at = 0, is_new = true}
  leases[field] = lease
end
lease.session, lease.serial, lease.seen, lease.changed = session, serial, spent_total, true
for _, window in ipairs(account.windows) do
  window_advance(window)
end
if not reports_only then
  roll(account)
end

local spare, verdict = 0, ADMITTED
if cost > 0 and cost > left(account, outstanding) then
  verdict = REFUSED
else
  if cost > 0 then
    take(account, cost)
    lease.seen = lease.seen + cost
  end
  local nodes = live_leases + (was_live and 0 or 1)
  if want > cost and not is_late then
    spare = max(0, min(want - cost, floor(floor(left(account, outstanding) / 4) * 3 / nodes)))
  end
end
if spare > 0 then
  free(-spare)
  lease.units = lease.units + spare
end
lease.expires = now + ttl_us
if (lease.units > 0) ~= (was_live or false) then
  live_leases, leases_changed = live_leases + (lease.units > 0 and 1 or -1), true
end
lease.is_over = lease.units == 0 and lease.presumed == 0
if not lease.is_over then
  local due = lease_due(lease)
  if attention_at == 0 or due < attention_at then
    attention_at, leases_changed = due, true
  end
end
save(sets)
local asked, ended = verdict == REFUSED and cost or 0, lease.is_over and 1 or 0
local told = answer(verdict, sets, outstanding - lease.units, spare, kept, ended, asked)
-- Nobody looks at what a mere report finds, and its limits are not the caller's.
return reports_only and string.sub(told, 1, 64) or told
