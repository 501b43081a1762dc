-- ARGV: clients and their entries in turn. Returns the clients that were not there.
local new = {}
for at = 1, #ARGV, 2 do
  local client, entry = ARGV[at], ARGV[at + 1]
  local found = redis.call('HGET', entries, client)
  if found ~= entry then
    if found then
      leave(client, found)
    else
      new[#new + 1] = client
    end
    enter(client, entry)
  end
end
return new
