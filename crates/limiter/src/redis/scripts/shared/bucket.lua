-- The token bucket, which may hear late of what was spent.

local function gain(bucket, elapsed, top)
  local room = top - bucket.level
  if elapsed <= 0 or bucket.tokens == 0 or room <= 0 then
    return
  end
  if elapsed >= ceil(room / bucket.tokens) then
    bucket.level = top
  else
    bucket.level = bucket.level + elapsed * bucket.tokens
  end
end

-- The burst's level and what refills in so long on top of it.
local function above_burst(bucket, elapsed)
  local capacity = bucket.burst * bucket.micros
  if elapsed > 0 and bucket.tokens > (UNITS_MAX - capacity) / elapsed then
    return UNITS_MAX
  end
  return capacity + bucket.tokens * max(elapsed, 0)
end

-- floor(level * to / from), exact though the product may pass 2^53; `most` where it would be more.
local function rescaled(level, from, to, most)
  local whole, rest = floor(level / from), level % from
  if whole * to >= most then
    return most
  end
  local quotient, remainder = 0, 0
  for bit = 42, 0, -1 do
    quotient, remainder = quotient * 2, remainder * 2
    if floor(to / 2 ^ bit) % 2 == 1 then
      remainder = remainder + rest
    end
    local times = floor(remainder / from)
    quotient, remainder = quotient + times, remainder - times * from
  end
  return min(whole * to + quotient, most)
end

-- Refills up to now, then takes over a changed limit as the domain does.
local function bucket_advance(bucket, set)
  gain(bucket, now - bucket.at, above_burst(bucket, clip_us))
  bucket.at = max(bucket.at, now)
  if bucket.tokens ~= set.tokens or bucket.micros ~= set.micros or bucket.burst ~= set.burst then
    local level = min(bucket.level, bucket.burst * bucket.micros)
    bucket.level = rescaled(level, bucket.micros, set.micros, set.burst * set.micros)
    bucket.tokens, bucket.micros, bucket.burst = set.tokens, set.micros, set.burst
    bucket.changed = true
  end
end

local function bucket_level(bucket)
  return min(bucket.level, bucket.burst * bucket.micros)
end

-- Takes units that were spent at an instant, now or before. The level kept is what the bucket would hold had it never
-- been full: only a spend says until when it was full, and what refilled since then must not be lost to the burst.
local function spend(bucket, units, at)
  bucket.level = max(0, min(bucket.level, above_burst(bucket, now - at)) - units * bucket.micros)
  bucket.changed = true
end

local function bucket_write(set)
  local bucket = set.bucket
  if bucket and bucket.changed then
    write('b' .. set.key, {bucket.level, bucket.at, bucket.tokens, bucket.micros, bucket.burst})
  end
end
