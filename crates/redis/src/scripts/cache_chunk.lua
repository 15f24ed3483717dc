-- KEYS[1]: a chunk.
return {redis.call('GET', KEYS[1])}
