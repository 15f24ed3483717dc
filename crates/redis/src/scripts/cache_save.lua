-- KEYS[2]: a hash of records by variant. ARGV: what all keys begin with, variant, position,
-- milliseconds to keep, body, chunks, URI, labels, head, the body's first chunk, most variants,
-- milliseconds that a body in whose place another comes is left to those who read it.
-- Returns the latest purge, and whether the record is kept: not if it was purged before it came.
local root, variant, position, keep = ARGV[1], ARGV[2], number(ARGV[3]), number(ARGV[4])
local body, count, uri, labels, head = ARGV[5], number(ARGV[6]), ARGV[7], ARGV[8], ARGV[9]
local most, linger = number(ARGV[11]), ARGV[12]
local last, floor, prefixed = clock()
local refused = {text(last), 0}

if position < floor or is_below_purged(position, uri, prefixed) then return refused end
local keys = marks(root, labels)
local found = redis.call('MGET', unpack(keys))
for i = 1, #keys do
  local mark = mark_of(found[i], last)
  if mark and mark > position then return refused end
end

-- The first write is the one that a full server refuses.
local first = chunks(root, body, 0, 1)[1]
if redis.pcall('SET', first, ARGV[10], 'PX', text(keep)).err then return refused end
for _, chunk in ipairs(chunks(root, body, 1, count)) do
  if redis.call('PEXPIRE', chunk, text(keep)) == 0 then return refused end
end

-- A mark lasts as long as the records that need it.
for i, key in ipairs(keys) do
  if not mark_of(found[i], last) then
    redis.call('SET', key, text(position), 'PX', text(keep))
  elseif redis.call('PTTL', key) < keep then
    redis.call('PEXPIRE', key, text(keep))
  end
end

if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then redis.call('UNLINK', KEYS[2]) end
local old = open(redis.call('HGET', KEYS[2], variant) or '')
if old and old[4] ~= body then
  for _, chunk in ipairs(chunks(root, old[4], 0, old[5])) do redis.call('PEXPIRE', chunk, linger) end
end
local record = {position, now + keep * 1000, now, body, count, uri, labels, head}
redis.call('HSET', KEYS[2], variant, cmsgpack.pack(record))
if redis.call('HLEN', KEYS[2]) > most then
  local all = redis.call('HGETALL', KEYS[2])
  local oldest, time
  for i = 1, #all, 2 do
    local other = open(all[i + 1])
    local saved = other and other[3] or 0
    if all[i] ~= variant and (not time or saved < time) then oldest, time = all[i], saved end
  end
  redis.call('HDEL', KEYS[2], oldest)
end
if redis.call('PTTL', KEYS[2]) < keep then redis.call('PEXPIRE', KEYS[2], text(keep)) end
return {text(last), 1}
