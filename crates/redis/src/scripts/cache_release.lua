-- KEYS[1]: a lease. ARGV: the token of whoever had it, and 1 if there was an answer. If not, those who
-- wait are told: they look again within a second.
-- Returns whether it was still theirs.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return {0} end
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], 'left', 'PX', 1000)
end
return {1}
