-- ARGV: length of the lease in ms, then clients and their entries in turn.
local now, lease = now_ms(), ARGV[1]
local till = string.format('%d', now + lease)
expire(now)
for at = 2, #ARGV, 2 do
  local client, entry = ARGV[at], ARGV[at + 1]
  if redis.call('HGET', entries, client) ~= entry then
    leave(client)
    redis.call('HSET', entries, client, entry)
    redis.call('HINCRBY', users, user_of(entry), 1)
  end
  redis.call('ZADD', leases, till, client)
end
redis.call('PEXPIRE', entries, lease)
redis.call('PEXPIRE', leases, lease)
redis.call('PEXPIRE', users, lease)
return 1
