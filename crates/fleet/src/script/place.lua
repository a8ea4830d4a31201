-- Tells whether a reader of a stream has missed nothing, where the stream ends, and until when it is whole.
-- KEYS[1] the stream, KEYS[2] until when every change has been carried into it
-- ARGV[1] the last entry that the reader knows, or empty
-- result: {what has been written to this server, 1 if the entry is still there,
--     the newest entry or empty, the time, until when changes have been carried (empty: nobody carries any)}
-- As long as the entry is there nothing after it has been trimmed: streams are trimmed from their beginning.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local known = 0
if ARGV[1] ~= '' then
    known = #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
end
return {history(), known, newest[1] and newest[1][1] or '', redis.call('TIME'), redis.call('GET', KEYS[2]) or ''}
