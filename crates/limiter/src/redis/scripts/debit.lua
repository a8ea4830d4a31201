-- Debits a call from the account's limits, from the key's own where it brings some, and from a meter where it brings
-- one, or from none of them; only looks where the head says so. ARGV[3] and on, by twos: the key's or the meter's id,
-- and its limits. A meter is a set of limits of which there is the quota only.

local account = limits_of(ARGV[2], '')
local sets = {account}
for index = 3, #ARGV, 2 do
  sets[#sets + 1] = limits_of(ARGV[index + 1], ARGV[index])
end

local refusal = open(sets)
if refusal then
  return refusal
end
for _, set in ipairs(sets) do
  roll(set)
  -- The account says which period is open, for what stands beside it too.
  period_start, period_end = account.quota.from, account.quota.to
end
local shared_refuses = cost > 0 and cost > left(account, outstanding)
local verdict = shared_refuses and REFUSED or ADMITTED
for index = 2, #sets do
  if cost > 0 and cost > left(sets[index], 0) then
    verdict = REFUSED
  end
end
if verdict == ADMITTED and cost > 0 then
  for _, set in ipairs(sets) do
    take(set, cost)
  end
end
save(sets)
return answer(verdict, sets, outstanding, 0, 0, shared_refuses and 1 or 0, verdict == REFUSED and cost or 0)
