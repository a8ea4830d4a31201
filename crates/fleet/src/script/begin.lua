-- Forgets a record and every promise of its place: what was read from the database before may not be put there.
-- KEYS[1] the record
-- ARGV[1] a new token, ARGV[2] how long the place is kept, in milliseconds
-- result: nothing
redis.call('SET', KEYS[1], history() .. '?' .. ARGV[1], 'PX', ARGV[2])
return false
