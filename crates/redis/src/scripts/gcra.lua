-- GCRA for the policies of one request, all or nothing.
--
-- KEYS: one for each policy. ARGV: four for each policy, the first three in nanoseconds: what the
-- request costs, what to spend instead if there is so much (a lease, or the cost again), the
-- capacity; and 1 if a refusal by the policy is one of the request.
--
-- Answers how far ahead each key is, then bit by place which policies refuse, then which gave the
-- lease.
local stored = redis.call('MGET', unpack(KEYS))
local count = #KEYS
local answer, cut = {}, {}
local refused, leased, blocked = 0, 0, false

for i = 1, count do
  local capacity = tonumber(ARGV[4 * i - 1])
  answer[i], cut[i] = read(stored[i], capacity)
  if answer[i] + tonumber(ARGV[4 * i - 3]) > capacity then
    refused = refused + 2 ^ (i - 1)
    stored[i] = nil
    blocked = blocked or ARGV[4 * i] == '1'
  else
    stored[i] = true
  end
end

for i = 1, count do
  local spent = 0
  if stored[i] and not blocked then
    spent = tonumber(ARGV[4 * i - 2])
    if answer[i] + spent <= tonumber(ARGV[4 * i - 1]) then
      leased = leased + 2 ^ (i - 1)
    else
      spent = tonumber(ARGV[4 * i - 3])
    end
  end
  if spent > 0 or cut[i] then
    answer[i] = answer[i] + spent
    write(KEYS[i], answer[i])
  end
end

answer[count + 1] = refused
answer[count + 2] = leased
return answer
