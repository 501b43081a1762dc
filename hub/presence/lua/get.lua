-- Returns clients and their entries in turn.
expire(now_ms())
return redis.call('HGETALL', entries)
