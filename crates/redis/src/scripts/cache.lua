-- What all scripts of the cache share.
-- KEYS[1]: the clock, a hash of the latest purge, of the floor, and of purges by prefix.
-- All times are microseconds since 1970; doubles are exact that far.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function number(text)
  local n = tonumber(text)
  if n and n >= 0 and n < 2 ^ 53 and n == math.floor(n) then return n end
end

local function text(n) return string.format('%.0f', n) end

-- The latest purge; the floor, before which all is purged; the latest purge by prefix. A clock that
-- is new, or was lost, knows nothing of the purges before it: they may have been of anything.
local function clock()
  local held = redis.pcall('HMGET', KEYS[1], 'last', 'floor', 'prefixed')
  if held.err then held = {} end
  local last, floor, prefixed = number(held[1]), number(held[2]), number(held[3])
  local is_sound = last and floor and prefixed and floor <= last and prefixed <= last
  -- An hour, as clocks are set back.
  if is_sound and last < now + 3.6e9 then return last, floor, prefixed end
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], 'last', text(now), 'floor', text(now), 'prefixed', '0')
  return now, now, 0
end

-- A record is {position, end, time of saving, body, chunks, URI, labels, head}.
local function open(packed)
  local ok, record = pcall(cmsgpack.unpack, packed)
  if not ok or type(record) ~= 'table' then return nil end
  for i, kind in ipairs({'number', 'number', 'number', 'string', 'number', 'string', 'string', 'string'}) do
    if type(record[i]) ~= kind then return nil end
  end
  local chunks, labels = record[5], #record[7]
  if chunks < 1 or chunks > 4096 or labels == 0 or labels % 16 ~= 0 or labels > 16384 then return nil end
  return record
end

-- A mark later than the latest purge is none.
local function mark_of(text, last)
  local mark = number(text)
  if mark and mark <= last then return mark end
end

local function marks(root, labels)
  local keys = {}
  for i = 1, #labels, 16 do keys[#keys + 1] = root .. 'm:' .. labels:sub(i, i + 15) end
  return keys
end

local function chunks(root, body, from, count)
  local keys = {}
  for i = from, count - 1 do keys[#keys + 1] = root .. 'b:' .. body .. ':' .. i end
  return keys
end

-- The purges by prefix, the oldest first.
local function prefixes()
  local packed = redis.call('HGET', KEYS[1], 'prefixes')
  local ok, list = pcall(cmsgpack.unpack, packed or '')
  if ok and type(list) == 'table' then return list end
end

local function is_below_purged(position, uri, prefixed)
  if prefixed <= position then return false end
  local list = prefixes()
  if not list then return true end
  for i = #list, 1, -1 do
    local mark, prefix = list[i][1], list[i][2]
    if mark <= position then return false end
    if uri:sub(1, #prefix) == prefix then return true end
  end
  return false
end
