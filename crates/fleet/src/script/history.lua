-- history(): 16 characters that name what has been written to this server since it lost something the last time.
-- A server that starts anew, also from what it had saved, and a replica that takes over, each have another one.
local function history()
    local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
    return string.sub(id .. '0000000000000000', 1, 16)
end
