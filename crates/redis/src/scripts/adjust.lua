-- Gives back or spends, whatever the quotas. Keys are as in gcra.lua.
--
-- KEYS: what to change, each maybe more than once. ARGV: three for each, in nanoseconds: the change,
-- below 0 to give back, the capacity, and the longest capacity of the policy's tiers.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

for i = 1, #KEYS do
  local text, ahead = redis.call('MGET', KEYS[i])[1], 0
  local change, capacity, longest = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  if text and #text == 16 then
    local whole, part = struct.unpack('<dd', text)
    ahead = (whole - now) * 1000 + part
    if ahead < 0 then
      ahead = 0
    elseif not (ahead <= longest) then
      ahead = longest
    end
  end
  -- The exhausted stay so, and what a longer tier owes stays owed.
  ahead = math.min(ahead + change, math.max(ahead, capacity))
  if ahead > 0 then
    local part = ahead % 1000
    text = struct.pack('<dd', now + (ahead - part) / 1000, part)
    redis.call('SET', KEYS[i], text, 'PX', string.format('%d', (ahead - ahead % 1000000) / 1000000 + 2))
  elseif text then
    redis.call('DEL', KEYS[i])
  end
end
return {}
