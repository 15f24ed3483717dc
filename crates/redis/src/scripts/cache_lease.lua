-- KEYS[1]: a lease. KEYS[2]: the record that it is for. ARGV: a token, and for how many milliseconds.
-- Returns whether it is granted, and whether there is a record. A lease without an end is none.
local is_free = redis.call('PTTL', KEYS[1]) < 0
if not is_free then return {0, 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, redis.call('EXISTS', KEYS[2])}
