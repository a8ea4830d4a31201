-- Writing what has changed, and the answer.

local function save_leases()
  for field, lease in pairs(leases) do
    if lease and lease.is_over then
      if not lease.is_new then
        redis.call('HDEL', STATE, field)
      end
    elseif lease and lease.changed then
      lease_write(field, lease)
    end
  end
  if leases_changed and attention_at > 0 then
    write('o', {outstanding, attention_at, live_leases})
  elseif leases_changed then
    redis.call('HDEL', STATE, 'o')
  end
end

-- Writes what has changed, and for how long it is kept.
local function save(sets)
  if is_look then
    return
  end
  for _, set in ipairs(sets) do
    if set.quota and set.quota.bits ~= set.bits then
      forget_others(set)
    end
    bucket_write(set)
    for _, window in ipairs(set.windows) do
      window_write(window)
    end
    quota_write(set)
  end
  save_leases()
  if #writes > 0 then
    redis.call('HSET', STATE, unpack(writes))
    redis.call('PEXPIRE', STATE, string.format('%.0f', keep_ms))
  end
end


-- The answer: verdict, time, Redis's time, epoch, units outstanding, granted, kept, and a flag: of a debit, whether the
-- shared limits refuse; of a lease, whether it is over.
local ADMITTED, REFUSED, GONE, INCOMPLETE, OVERTAKEN = 1, 0, 2, 3, 4

local function answer(verdict, sets, held, granted, kept, flag, asked)
  local numbers = {verdict, now, redis_now, sets[1].quota and sets[1].quota.epoch or 0, held, granted, kept, flag}
  if verdict == ADMITTED or verdict == REFUSED then
    for _, set in ipairs(sets) do
      report(set, asked, numbers)
    end
  end
  return packed(numbers)
end

-- The limits of a call, with all that is counted for them, advanced; or the answer to give where something is missing.
local function open(sets)
  load(sets)
  see(sets)
  for _, set in ipairs(sets) do
    if begins_fresh and not is_look then
      begin_fresh(set)
    end
  end
  for _, set in ipairs(sets) do
    if not is_complete(set) then
      return answer(sets[1].quota and INCOMPLETE or GONE, sets, 0, 0, 0, 0, 0)
    end
  end
  advance(sets)
  return nil
end
