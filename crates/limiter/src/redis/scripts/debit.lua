-- Debits a call from the account's limits, and from the key's own where it brings some, or from none of them; only
-- looks where the head says so. ARGV[3] the key's id, ARGV[4] its limits.

local account = limits_of(ARGV[2], '')
local sets = {account}
if ARGV[3] then
  sets[2] = limits_of(ARGV[4], ARGV[3])
end

local refusal = open(sets)
if refusal then
  return refusal
end
for _, set in ipairs(sets) do
  roll(set)
end
local shared_refuses = cost > 0 and cost > left(account, outstanding)
local verdict = ADMITTED
if shared_refuses or (cost > 0 and sets[2] and cost > left(sets[2], 0)) then
  verdict = REFUSED
elseif cost > 0 then
  for _, set in ipairs(sets) do
    take(set, cost)
  end
end
save(sets)
return answer(verdict, sets, outstanding, 0, 0, shared_refuses and 1 or 0, verdict == REFUSED and cost or 0)
