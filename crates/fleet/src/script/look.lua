-- Looks at a record; where there is none, promises the place to whoever reads the database now.
-- KEYS[1] the record
-- ARGV[1] a token of the caller's, ARGV[2] how long the promise holds, in milliseconds
-- result: {1, record} where there is one; {0, token} under which a record read from now on may be put there
local history = history()
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, 16) == history then
    if string.sub(held, 17, 17) == '=' then
        return {1, string.sub(held, 18)}
    end
    return {0, string.sub(held, 18)}
end
redis.call('SET', KEYS[1], history .. '?' .. ARGV[1], 'PX', ARGV[2])
return {0, ARGV[1]}
