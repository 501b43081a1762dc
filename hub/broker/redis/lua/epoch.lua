-- What the other scripts begin with.
-- A topic's meta is a hash: e epoch, o top offset, r run of the server in which the epoch began, v and w version.

-- The epoch in force. Without meta, what the stream holds belongs to positions that nobody knows any more. After a
-- restart or a failover the server may lack the latest offsets and would give them out again: what is kept stays
-- readable, but under a new epoch, so that nobody takes new publications for those.
local function epoch_of(meta, stream, run, fresh)
  local known = redis.call('HMGET', meta, 'e', 'r')
  if known[1] and known[2] == run then
    return known[1]
  end
  if not known[1] then
    redis.call('DEL', stream)
  end
  redis.call('HSET', meta, 'e', fresh, 'r', run)
  return fresh
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The id of an entry is offset-expiry. Expired ones go from the oldest on, so that no hole comes to be. Where none has
-- expired nothing is written, so that a server that takes no writes for now can still be read.
local function trim(stream, now)
  local count, old = 1, false
  while true do
    local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', count)
    for _, entry in ipairs(entries) do
      if tonumber(string.match(entry[1], '%d+$')) > now then
        if old then
          redis.call('XTRIM', stream, 'MINID', entry[1])
        end
        return
      end
      old = true
    end
    if #entries < count then
      if old then
        redis.call('DEL', stream)
      end
      return
    end
    count = math.min(count * 4, 256)
    redis.call('XTRIM', stream, 'MINID', string.format('%d', string.match(entries[#entries][1], '^%d+') + 1))
  end
end

-- Whether decimal a is not above decimal b; as text, since numbers here are exact up to 2^53 only.
local function not_above(a, b)
  if #a ~= #b then
    return #a < #b
  end
  return a <= b
end
