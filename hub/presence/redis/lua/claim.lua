-- ARGV: how many places to return at most, how long to know of leases that were taken in ms.
-- Takes the leases that have ended. Returns owners whose clients are to go and topics on which they may have some, in
-- turn.
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', taken, '-inf', whole(now - ARGV[2]))
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', whole(now), 'LIMIT', 0, 100)) do
  redis.call('ZREM', leases, owner)
  redis.call('ZADD', estates, whole(now), owner)
  redis.call('ZADD', taken, whole(now), owner)
end
local found, room = {}, tonumber(ARGV[1])
for _, owner in ipairs(redis.call('ZRANGE', estates, 0, 99)) do
  local some = places_of(owner, room)
  if #some == 0 then
    redis.call('ZREM', estates, owner)
  end
  for _, place in ipairs(some) do
    found[#found + 1] = owner
    found[#found + 1] = string.sub(place, #owner + 2)
  end
  room = room - #some
  if room < 1 then
    break
  end
end
return found
