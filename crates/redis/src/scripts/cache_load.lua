-- KEYS[2]: a hash of records by variant. ARGV[1]: what all keys begin with.
-- Returns the latest purge, the first chunk of the newest record's body, and then of each record,
-- the newest first: head, body, number of chunks.
local root = ARGV[1]
local last, floor, prefixed = clock()
local answer = {text(last), ''}

-- A mark that is gone may have been of a purge.
local function is_unmarked(position, labels)
  local found = redis.call('MGET', unpack(marks(root, labels)))
  for i = 1, #found do
    local mark = mark_of(found[i], last)
    if not mark or mark > position then return false end
  end
  return true
end

local function is_live(record)
  local position, ending, _, body, count, uri, labels = unpack(record)
  local keys = chunks(root, body, 0, count)
  return ending > now and position >= floor
    and is_unmarked(position, labels)
    and not is_below_purged(position, uri, prefixed)
    and redis.call('EXISTS', unpack(keys)) == count
end

local all = redis.pcall('HGETALL', KEYS[2])
if all.err then
  redis.call('UNLINK', KEYS[2])
  return answer
end
local live = {}
for i = 1, #all, 2 do
  local record = open(all[i + 1])
  if record and is_live(record) then
    live[#live + 1] = record
  else
    redis.call('HDEL', KEYS[2], all[i])
  end
end
table.sort(live, function(a, b) return a[3] > b[3] end)
for i, record in ipairs(live) do
  if i == 1 then
    local chunk = redis.pcall('GET', chunks(root, record[4], 0, 1)[1])
    -- What is no chunk is told by its length.
    answer[2] = type(chunk) == 'string' and chunk or ''
  end
  answer[#answer + 1] = record[8]
  answer[#answer + 1] = record[4]
  answer[#answer + 1] = record[5]
end
return answer
