-- The strict sliding window, in the domain's 256ths. Older slices are read only when they are needed.

local function window_empty(window)
  window.total, window.oldest, window.newest, window.units, window.older = 0, 0, 0, 0, 0
end

local function window_read(window, text)
  window.total, window.oldest, window.newest, window.units, window.older = struct.unpack('<ddddd', text)
end

-- The slices before the newest one, read only when they are needed.
local function window_body(window)
  if not window.body then
    window.body = window.older > 0 and redis.call('HGET', STATE, window.body_field) or ''
  end
  return window.body
end

local function window_set_body(window, body)
  window.body, window.body_changed, window.changed = body, true, true
end

-- Lets go of the slices whose newest call is a whole window old.
local function window_advance(window)
  if window.total == 0 or now - window.oldest < window.length then
    return
  end
  if now - window.newest >= window.length then
    window_empty(window)
    window_set_body(window, '')
    return
  end
  local body, from = window_body(window), 1
  while window.older > 0 do
    local newest, units = struct.unpack('<dd', body, from)
    if now - newest < window.length then
      break
    end
    window.total, window.older, from = window.total - units, window.older - 1, from + 16
  end
  window.oldest = window.older > 0 and struct.unpack('<d', body, from) or window.newest
  window_set_body(window, string.sub(body, from))
end

-- Counts units at an instant, or at the newest call where that is later.
local function window_add(window, units, at)
  if units <= 0 then
    return
  end
  units = min(units, UNITS_MAX - window.total)
  local slice = floor(window.length / SLICES)
  if window.total > 0 and floor(window.newest / slice) >= floor(at / slice) then
    window.units, window.newest = window.units + units, max(window.newest, at)
    if window.older == 0 then
      window.oldest = window.newest
    end
  else
    if window.total > 0 then
      window_set_body(window, window_body(window) .. struct.pack('<dd', window.newest, window.units))
      window.older = window.older + 1
    else
      window.oldest = at
    end
    window.newest, window.units = at, units
  end
  window.total, window.changed = window.total + units, true
end

-- When so many more units fit; negative when never. Only asked where they do not fit now.
local function window_room_at(window, units)
  local excess = units - (window.limit - window.total)
  if window.total == 0 then
    return -1
  end
  if excess <= 1 then
    return window.oldest + window.length
  end
  local body = window_body(window)
  for from = 1, window.older * 16, 16 do
    local newest, held = struct.unpack('<dd', body, from)
    excess = excess - held
    if excess <= 0 then
      return newest + window.length
    end
  end
  return excess <= window.units and window.newest + window.length or -1
end

local function window_write(window)
  if window.changed then
    write(window.field, {window.total, window.oldest, window.newest, window.units, window.older})
  end
  if window.body_changed then
    if window.older > 0 then
      writes[#writes + 1] = window.body_field
      writes[#writes + 1] = window.body
    else
      redis.call('HDEL', STATE, window.body_field)
    end
  end
end
