-- ARGV: an owner, and how many of its clients to take out at most.
-- Returns how many it still has, and in a list the clients and their entries in turn.
local owner, taken = ARGV[1], {}
local found = redis.call('ZRANGEBYLEX', members, '[' .. owner .. '\0', '(' .. owner .. '\1', 'LIMIT', 0, ARGV[2])
for _, member in ipairs(found) do
  local client = string.sub(member, #owner + 2)
  local entry = redis.call('HGET', entries, client)
  if entry then
    leave(client, entry)
    taken[#taken + 1] = client
    taken[#taken + 1] = entry
  else
    redis.call('ZREM', members, member)
  end
end
return {clients_of(owner), taken}
