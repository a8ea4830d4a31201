-- Puts a record in its place, if the place is still promised under the token.
-- KEYS[1] the record
-- ARGV[1] the token, ARGV[2] the record, ARGV[3] how long it is kept, in milliseconds
-- result: 1 where it was put, 0 where something has changed since
local history = history()
if redis.call('GET', KEYS[1]) ~= history .. '?' .. ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], history .. '=' .. ARGV[2], 'PX', ARGV[3])
return 1
