-- KEYS: the mark, then leases. ARGV: run and what follows a colon, owner, term (ms), length of these grants (ms).
-- The mark is a hash: r run of the server that knows its leases, f free from (ms): before that it gives none, n latest
-- number. A lease is a hash with o owner and n number, which Redis deletes when its time is over.
-- Returns places of leases, counted from 1, and their numbers in turn.
local mark = KEYS[1]
-- The id of the replication may change while a server runs, and nodes that connected before would not know it.
local run, owner, term, length = string.match(ARGV[1], '^[^:]*'), ARGV[2], ARGV[3], ARGV[4]
local now = now_ms()
local known = redis.call('HMGET', mark, 'r', 'f', 'n')

-- Without the mark all was lost. Another run may have begun with less than the one before had granted.
if known[1] ~= run then
  redis.call('HSET', mark, 'r', run, 'f', whole(now + term))
  return {}
end
if now < tonumber(known[2]) then
  return {}
end

-- The time in the numbers lets them grow even when the mark is lost.
local number = math.max(tonumber(known[3] or 0), now)
local granted = {}
for at = 2, #KEYS do
  local holder = redis.call('HGET', KEYS[at], 'o')
  if not holder or holder == owner then
    number = number + 1
    redis.call('HSET', KEYS[at], 'o', owner, 'n', whole(number))
    redis.call('PEXPIRE', KEYS[at], length)
    granted[#granted + 1] = at - 1
    granted[#granted + 1] = number
  end
end
if #granted > 0 then
  redis.call('HSET', mark, 'n', whole(number))
end
return granted
