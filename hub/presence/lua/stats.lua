-- Returns how many clients and how many users.
expire(now_ms())
return {redis.call('HLEN', entries), redis.call('HLEN', users)}
