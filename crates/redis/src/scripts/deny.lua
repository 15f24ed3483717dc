-- KEYS: the revocations, by when they end; the number of changes to them; the pardons, likewise.
-- ARGV: the channel; "deny" or "pardon"; the revocation; when it ends, in seconds since 1970.
-- Returns the number of this change.
local change = redis.call('INCR', KEYS[2])
local into, from = KEYS[1], KEYS[3]
if ARGV[2] == 'pardon' then
  into, from = from, into
end
-- A pardon is kept too, for whoever does not hear of it.
redis.call('ZADD', into, ARGV[4], ARGV[3])
redis.call('ZREM', from, ARGV[3])
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
redis.call('PUBLISH', ARGV[1], change .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
return {change}
