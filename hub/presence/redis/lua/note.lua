-- ARGV: an owner and topics on which it is about to have clients. Returns 0, having done nothing, if it has no lease.
if not redis.call('ZSCORE', leases, ARGV[1]) then
  return 0
end
for at = 2, #ARGV do
  redis.call('ZADD', places, 0, ARGV[1] .. '\0' .. ARGV[at])
end
return 1
