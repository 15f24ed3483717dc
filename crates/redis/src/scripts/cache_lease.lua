-- KEYS[1]: a lease. KEYS[2]: the record that it is for. ARGV: a token, and for how many milliseconds.
-- Returns 1 if it is granted, 0 if another has it, 2 if what the service last answered was not for
-- others; and whether there is a record. A lease without an end is none.
local is_free = redis.call('PTTL', KEYS[1]) < 0
if not is_free then
  return {redis.pcall('GET', KEYS[1]) == 'unshared' and 2 or 0, 0}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, redis.call('EXISTS', KEYS[2])}
