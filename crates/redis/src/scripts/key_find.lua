-- The record of a key, if there is one.
local record = redis.call('GET', KEYS[1])
if record then return { record } end
return {}
