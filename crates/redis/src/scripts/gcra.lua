-- GCRA for the policies of one request, all or nothing.
--
-- Each of KEYS keeps one policy's theoretical arrival time since 1970 in two doubles, whole
-- microseconds and the nanoseconds beyond: one double cannot hold as many digits, and text would have
-- to be parsed. Everything is reckoned as the time by which the arrival is ahead of the server's
-- clock, which is exact. A key is kept for as long as it is ahead; the server rounds its own time
-- down to milliseconds, so for one of them more.
--
-- ARGV, all times in nanoseconds: three for each policy, what the request costs, the capacity, and the
-- longest capacity of the policy's tiers; a digit for each policy, 1 if its refusal is one of the request
-- and 2 if not; and, if there are leases, for each policy what to spend instead of the cost if there is so
-- much.
--
-- Answers how far ahead each key is, and then bit by place which policies refuse, and from the
-- fifth bit on which gave the lease.
--
-- This runs for every request: it is one stretch since calls cost as much as the rest.
local call, format, sub = redis.call, string.format, string.sub
local pack, read = struct.pack, struct.unpack
local time = call('TIME')
local now = time[1] * 1000000 + time[2] -- microseconds
local stored = call('MGET', unpack(KEYS))
local count = #KEYS
-- With room for what is answered for one policy: to make a table grow costs more than to fill it.
local answer, bits, blocked = { 0, 0 }, 0, false

for i = 1, count do
  local text, cost, ahead = stored[i], ARGV[3 * i - 2], 0
  -- What is no arrival time counts as none.
  if text and #text == 16 then
    local whole, part = read('<dd', text)
    ahead = (whole - now) * 1000 + part
    if ahead < 0 then
      ahead = 0
    elseif not (ahead <= tonumber(ARGV[3 * i])) then
      -- Nobody owes more than that, though another quota may have written the time, or a clock that
      -- has since gone back. Said so that it holds for what is no number, too.
      ahead = tonumber(ARGV[3 * i])
      local part = ahead % 1000
      text = pack('<dd', now + (ahead - part) / 1000, part)
      call('SET', KEYS[i], text, 'PX', format('%d', (ahead - ahead % 1000000) / 1000000 + 2))
    end
  end
  local spent = ahead + cost
  -- What is free is within every quota, though a longer one may have been exhausted.
  if spent <= tonumber(ARGV[3 * i - 1]) or cost == '0' then
    stored[i] = spent
  else
    stored[i] = false
    bits = bits + 2 ^ (i - 1)
    blocked = blocked or sub(ARGV[3 * count + 1], i, i) == '1'
  end
  answer[i] = ahead
end

if not blocked then
  for i = 1, count do
    local spent, lease = stored[i], ARGV[3 * count + 1 + i]
    if spent then
      if lease and answer[i] + lease <= tonumber(ARGV[3 * i - 1]) then
        spent = answer[i] + lease
        bits = bits + 2 ^ (i + 3)
      end
      local part = spent % 1000
      local text = pack('<dd', now + (spent - part) / 1000, part)
      call('SET', KEYS[i], text, 'PX', format('%d', (spent - spent % 1000000) / 1000000 + 2))
      answer[i] = spent
    end
  end
end

answer[count + 1] = bits
return answer
