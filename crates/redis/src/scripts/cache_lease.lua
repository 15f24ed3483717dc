-- KEYS[1]: a lease. KEYS[2]: the record that it is for. ARGV: a token, and for how many milliseconds.
-- Returns whether it is granted, whether there is a record, and whether whoever had it before left it
-- without an answer. A lease without an end is none.
local was_left = redis.pcall('GET', KEYS[1]) == 'left'
local is_free = was_left or redis.call('PTTL', KEYS[1]) < 0
if not is_free then return {0, 0, 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, redis.call('EXISTS', KEYS[2]), was_left and 1 or 0}
