-- ARGV: what all keys begin with, the kind of purge, its label or prefix, the channel, what is said
-- there, the most prefixes, how many milliseconds a mark lasts at least: longer than any response is
-- on its way.
-- Returns the purge's place among all.
local root, kind, what, channel, said = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local most, lasts = number(ARGV[6]), number(ARGV[7])
local last, floor, prefixed = clock()
-- After all that were, and, should the clock be lost, after those that are forgotten.
local mark = math.max(last + 1, now)
redis.call('HSET', KEYS[1], 'last', text(mark))
if kind == 'all' then
  redis.call('HSET', KEYS[1], 'floor', text(mark))
elseif kind == 'label' then
  local key = root .. 'm:' .. what
  local left = math.max(redis.call('PTTL', key), lasts)
  redis.call('SET', key, text(mark), 'PX', text(left))
else
  local list = prefixed > 0 and prefixes()
  if not list then
    -- There was none, or it is lost.
    if prefixed > 0 then redis.call('HSET', KEYS[1], 'floor', text(mark)) end
    list = {}
  end
  list[#list + 1] = {mark, what}
  if #list > most then
    -- What is forgotten counts as having been of anything.
    local oldest = table.remove(list, 1)
    redis.call('HSET', KEYS[1], 'floor', text(math.max(oldest[1], floor)))
  end
  redis.call('HSET', KEYS[1], 'prefixed', text(mark), 'prefixes', cmsgpack.pack(list))
end
redis.call('PUBLISH', channel, text(mark) .. ' ' .. said)
return {text(mark)}
