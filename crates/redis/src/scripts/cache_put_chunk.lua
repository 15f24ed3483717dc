-- KEYS[1]: a chunk. ARGV: its bytes, and for how many milliseconds it waits for its record.
-- Returns whether there was room for it.
return {redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]).err and 0 or 1}
