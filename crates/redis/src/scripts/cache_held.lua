-- KEYS: the chunks of a body. Returns how many of them are there.
return {redis.call('EXISTS', unpack(KEYS))}
