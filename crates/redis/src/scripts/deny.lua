-- KEYS: the revocations, by when they end; the number of changes to them.
-- ARGV: the channel; "deny" or "pardon"; the revocation; when it ends, in seconds since 1970.
-- Returns the number of this change.
local change = redis.call('INCR', KEYS[2])
if ARGV[2] == 'deny' then
  redis.call('ZADD', KEYS[1], ARGV[4], ARGV[3])
else
  redis.call('ZREM', KEYS[1], ARGV[3])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
redis.call('PUBLISH', ARGV[1], change .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
return {change}
