-- What all scripts share: the state of one subject, one hash, and the arithmetic of the domain's limits on it.
--
-- KEYS[1]  the hash. ARGV[1] the head of the call, ARGV[2] the account's limits, all packed little-endian doubles.
--
-- Fields, each packed doubles (short enough for a listpack but for a window's slices):
--   q      period start, period end, used, ledger position, seen, epoch, which limits the state has (bits)
--   b      level, at, tokens, micros, burst; the level may stand above the burst, see `spend`
--   w<s>   a window of s seconds: total, oldest slice's newest call, newest slice's newest call and units, older slices
--   W<s>   its older slices, oldest first: newest call, units
--   o      units outstanding in leases, when the next lease needs attention, leases with units
--   l<node> a node's lease, see lease.lua
--   p      the position of the last charge that found no state of what it charges, until a seed has told it
-- and q, b, w<s>:, W<s>: followed by a key's id for what single keys have of their own, and q by a meter's.
--
-- Every number stays at or below 2^53, where doubles are exact. Times are microseconds of Redis time.

local STATE = KEYS[1]
local UNITS_MAX = 9007199254740992
local SLICES = 256
local SKEW_US = 10000000
local DEAD_US = 60000000
local DAY_US = 86400000000
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local function read(text)
  local numbers = {struct.unpack('<' .. string.rep('d', #text / 8), text)}
  numbers[#numbers] = nil
  return numbers
end

local function packed(numbers)
  return struct.pack('<' .. string.rep('d', #numbers), unpack(numbers))
end

-- The head of a call: cost, period, whether to look only, whether an unknown subject begins fresh, an epoch for a
-- state made now, how long the state is kept, how far back a late report may refill, and the time (negative: Redis's).
local cost, period_start, period_end, look, fresh, new_epoch, keep_ms, clip_us, redis_now =
  struct.unpack('<ddddddddd', ARGV[1])
local is_look, begins_fresh = look == 1, fresh == 1

if redis_now < 0 then
  local time = redis.call('TIME')
  redis_now = time[1] * 1000000 + time[2]
end
local now = redis_now

local outstanding, attention_at, live_leases, leases_changed = 0, 0, 0, false
local was_set_back = false
local leases = {}
local writes = {}

local function write(field, numbers)
  writes[#writes + 1] = field
  writes[#writes + 1] = packed(numbers)
end

-- One set of limits as a call brings it: the bucket (tokens negative: none), the quota (negative: unlimited), the bits
-- of its limits, then each window's length and limit. `key` is empty for the account's own.
local function limits_of(text, key)
  local tokens, micros, burst, limit, bits = struct.unpack('<ddddd', text)
  local set = {key = key, tokens = tokens, micros = micros, burst = burst, limit = limit, bits = bits, windows = {}}
  for from = 41, #text, 16 do
    local length, most = struct.unpack('<dd', text, from)
    local name = string.format('%.0f', length / 1000000)
    if key ~= '' then
      name = name .. ':' .. key
    end
    set.windows[#set.windows + 1] = {length = length, limit = most, field = 'w' .. name, body_field = 'W' .. name}
  end
  return set
end

