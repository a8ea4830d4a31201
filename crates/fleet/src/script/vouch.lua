-- Notes until when every change has been carried, and tells the time.
-- KEYS[1] the note
-- ARGV[1] until when, in microseconds, or empty to note nothing, ARGV[2] how long the note is kept, in milliseconds
-- result: {seconds, microseconds}
local time = redis.call('TIME')
if ARGV[1] ~= '' then
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local noted = tonumber(redis.call('GET', KEYS[1]) or '') or 0
    -- Another relay may have noted a later time; one that lies ahead is from a clock that was wrong.
    if noted > tonumber(ARGV[1]) and noted <= now then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
    else
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    end
end
return time
