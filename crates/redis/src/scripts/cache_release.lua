-- KEYS[1]: a lease. ARGV: the token of whoever had it, and 1 if the service's answer was not for others:
-- those who wait are told, for they look again within a second.
-- Returns whether it was still theirs.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return {0} end
if ARGV[2] == '1' then
  redis.call('SET', KEYS[1], 'unshared', 'PX', 1000)
else
  redis.call('DEL', KEYS[1])
end
return {1}
