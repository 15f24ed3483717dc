-- Returns the latest purge.
return {text((clock()))}
