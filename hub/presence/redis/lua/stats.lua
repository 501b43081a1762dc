-- Returns how many clients and how many users.
return {redis.call('HLEN', entries), redis.call('HLEN', users)}
