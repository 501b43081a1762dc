-- What the other scripts begin with.
-- KEYS: entries (client -> entry), leases (client by end in ms), users (user -> clients).
-- An entry begins with the number of bytes of its user, a colon and the user.
local entries, leases, users = KEYS[1], KEYS[2], KEYS[3]

local function user_of(entry)
  local size, at = string.match(entry, '^(%d+):()')
  return string.sub(entry, at, at + size - 1)
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function leave(client)
  local entry = redis.call('HGET', entries, client)
  redis.call('ZREM', leases, client)
  if entry then
    redis.call('HDEL', entries, client)
    local user = user_of(entry)
    if redis.call('HINCRBY', users, user, -1) < 1 then
      redis.call('HDEL', users, user)
    end
  end
end

-- Lets those go whose lease has ended.
local function expire(now)
  for _, client in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', string.format('%d', now))) do
    leave(client)
  end
end
