-- ARGV: the owner, the one that takes its place unless it is kept, length of the lease in ms, 1 to have it replaced.
-- Returns 0 when the lease was kept, 1 when it had been taken, 2 when it is not known or was to be replaced.
local owner, successor = ARGV[1], ARGV[2]
local till = whole(now_ms() + ARGV[3])
if ARGV[4] == '0' and redis.call('ZSCORE', leases, owner) then
  redis.call('ZADD', leases, till, owner)
  return 0
end
local fate = redis.call('ZSCORE', taken, owner) and 1 or 2
redis.call('ZREM', leases, owner)
if fate == 2 and #places_of(owner, 1) > 0 then
  -- What the successor has not taken over by then is swept.
  redis.call('ZADD', leases, till, owner)
end
redis.call('ZADD', leases, till, successor)
return fate
