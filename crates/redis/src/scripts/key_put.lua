-- Puts or removes the record of a key, and tells all processes.
-- KEYS: record, changes. ARGV: channel, identifier, record or nothing.
if ARGV[3] then
    redis.call('SET', KEYS[1], ARGV[3])
else
    redis.call('DEL', KEYS[1])
end
local change = redis.call('INCR', KEYS[2])
redis.call('PUBLISH', ARGV[1], change .. ' ' .. ARGV[2])
return { change }
