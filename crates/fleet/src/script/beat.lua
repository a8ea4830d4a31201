-- Says that a node lives, and tells who else has said so, and the time.
-- KEYS[1] the list of nodes
-- ARGV[1] the node, empty to say nothing, ARGV[2] its facts
-- result: {seconds, microseconds, {node, microseconds and facts, …}}
local time = redis.call('TIME')
if ARGV[1] ~= '' then
    local seen = string.format('%d%06d', tonumber(time[1]), tonumber(time[2]))
    redis.call('HSET', KEYS[1], ARGV[1], seen .. ' ' .. ARGV[2])
end
return {tonumber(time[1]), tonumber(time[2]), redis.call('HGETALL', KEYS[1])}
