-- KEYS[1]: a lease. ARGV[1]: the token of whoever had it.
-- Returns whether it was still theirs.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return {0} end
redis.call('DEL', KEYS[1])
return {1}
