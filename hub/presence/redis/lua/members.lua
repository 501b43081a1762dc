-- What the scripts about one topic begin with.
-- KEYS: entries (client -> entry), users (user -> clients), members (an owner, NUL and a client, sorted by name).
-- An entry begins with its owner and its user, each with the number of its bytes and a colon in front.
local entries, users, members = KEYS[1], KEYS[2], KEYS[3]

local function part(entry, from)
  local size, at = string.match(entry, '^(%d+):()', from)
  local past = at + size
  return string.sub(entry, at, past - 1), past
end

local function owner_and_user(entry)
  local owner, past = part(entry, 1)
  return owner, (part(entry, past))
end

local function enter(client, entry)
  local owner, user = owner_and_user(entry)
  redis.call('HSET', entries, client, entry)
  redis.call('ZADD', members, 0, owner .. '\0' .. client)
  redis.call('HINCRBY', users, user, 1)
end

local function leave(client, entry)
  local owner, user = owner_and_user(entry)
  redis.call('HDEL', entries, client)
  redis.call('ZREM', members, owner .. '\0' .. client)
  if redis.call('HINCRBY', users, user, -1) < 1 then
    redis.call('HDEL', users, user)
  end
end

-- How many clients an owner has on the topic.
local function clients_of(owner)
  return redis.call('ZLEXCOUNT', members, '[' .. owner .. '\0', '(' .. owner .. '\1')
end
