-- ARGV: an owner and a client. Returns how many clients the owner still has on the topic.
local entry = redis.call('HGET', entries, ARGV[2])
if entry then
  leave(ARGV[2], entry)
end
return clients_of(ARGV[1])
