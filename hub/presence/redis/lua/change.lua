-- ARGV: an owner; then clients and their entries in turn, an empty entry for one that goes.
-- Returns how many clients the owner then has on the topic, and a list of those that were entered and not there before.
local new = {}
for at = 2, #ARGV, 2 do
  local client, entry = ARGV[at], ARGV[at + 1]
  local found = redis.call('HGET', entries, client)
  if found ~= entry then
    if found then
      leave(client, found)
    elseif entry ~= '' then
      new[#new + 1] = client
    end
    if entry ~= '' then
      enter(client, entry)
    end
  end
end
return {clients_of(ARGV[1]), new}
