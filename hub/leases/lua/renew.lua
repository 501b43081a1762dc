-- KEYS: leases. ARGV: owner, length (ms; 0 ends them), then the numbers of the owner's grants.
-- Returns the places, counted from 1, of those in force.
local owner, length = ARGV[1], tonumber(ARGV[2])
local found = {}
for at, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 'o', 'n')
  if held[1] == owner and held[2] == ARGV[at + 2] then
    redis.call('PEXPIRE', key, length)
    found[#found + 1] = at
  end
end
return found
