-- Tells which entries still stand in a stream.
-- KEYS[1] the stream
-- ARGV the entries
-- result: 1 or 0 for each
local standing = {}
for index, entry in ipairs(ARGV) do
    standing[index] = #redis.call('XRANGE', KEYS[1], entry, entry)
end
return standing
