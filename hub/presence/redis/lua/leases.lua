-- What the scripts about leases begin with.
-- KEYS: leases (owner by the end of its lease in ms), estates (owner by when its lease was taken, while it has clients),
-- taken (the same, kept for a day), places (an owner, NUL and a topic on which it may have clients, sorted by name).
local leases, estates, taken, places = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%d', number)
end

local function places_of(owner, limit)
  return redis.call('ZRANGEBYLEX', places, '[' .. owner .. '\0', '(' .. owner .. '\1', 'LIMIT', 0, limit)
end
