-- Gives back or spends, whatever the quotas.
--
-- KEYS: what to change, each maybe more than once. ARGV: two for each, in nanoseconds: the change,
-- below 0 to give back, and the capacity.
for i = 1, #KEYS do
  local stored = redis.call('MGET', KEYS[i])
  local capacity = tonumber(ARGV[2 * i])
  local ahead = math.min(read(stored[1], capacity) + tonumber(ARGV[2 * i - 1]), capacity)
  if ahead > 0 then
    write(KEYS[i], ahead)
  elseif stored[1] then
    redis.call('DEL', KEYS[i])
  end
end
return {}
