-- What the scripts share. A key keeps its theoretical arrival time as 19 digits: nanoseconds since
-- 1970. A double cannot hold as many, so it is read in two parts, and everything is reckoned as
-- the time by which it is ahead of the server's clock, which is exact.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] -- microseconds

-- How far ahead of now an arrival time is, and whether it was cut: nobody owes more than the
-- capacity, though another quota may have written the time, or a clock that has since gone back.
-- What is no arrival time counts as none.
local function read(text, capacity)
  if not text or #text ~= 19 or string.find(text, '%D') then
    return 0, false
  end
  local ahead = (tonumber(string.sub(text, 1, 16)) - now) * 1000 + tonumber(string.sub(text, 17))
  if ahead > capacity then
    return capacity, true
  end
  return math.max(ahead, 0), false
end

-- Kept for as long as it is ahead; the server rounds its own time down to milliseconds, so for one
-- of them more.
local function write(key, ahead)
  local whole = math.floor(ahead / 1000)
  local text = string.format('%016.0f%03.0f', now + whole, ahead - whole * 1000)
  local life = string.format('%.0f', math.ceil(ahead / 1000000) + 1)
  redis.call('SET', key, text, 'PX', life)
end

