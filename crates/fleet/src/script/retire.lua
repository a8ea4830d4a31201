-- Strikes consumers off a group that have been idle for long and have nothing pending.
-- KEYS[1] the stream
-- ARGV[1] the group, ARGV[2] the consumer that asks, which stays, ARGV[3] the idle time in milliseconds
-- result: how many entries stand in the stream
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local fact = {}
    for index = 1, #facts, 2 do
        fact[facts[index]] = facts[index + 1]
    end
    if fact.name ~= ARGV[2] and fact.pending == 0 and fact.idle > tonumber(ARGV[3]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], fact.name)
    end
end
return redis.call('XLEN', KEYS[1])
