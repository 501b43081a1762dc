-- KEYS: meta, stream, and for an idempotency key the key of its result.
-- ARGV: run, fresh epoch, PUBLISH or SPUBLISH, channel, body, size ('' without history), ttl, meta ttl,
-- result ttl (ms), version, its epoch.
-- Returns whether it was suppressed (1) or not (0), and the position as offset:epoch, '' without history.
local meta, stream, seen = KEYS[1], KEYS[2], KEYS[3]
local run, fresh, send, channel, body, size = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local ttl, meta_ttl, result_ttl, version, version_epoch = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local place = ''

if seen then
  local first = redis.call('GET', seen)
  if first then
    return {1, first}
  end
end

local epoch
if size ~= '' then
  epoch = epoch_of(meta, stream, run, fresh)
end

if version ~= '0' then
  local known = redis.call('HMGET', meta, 'v', 'w', 'o')
  if known[1] and known[2] == version_epoch and not_above(version, known[1]) then
    if epoch then
      place = (known[3] or '0') .. ':' .. epoch
    end
    return {1, place}
  end
  redis.call('HSET', meta, 'v', version, 'w', version_epoch)
end

if epoch then
  local offset = string.format('%d', redis.call('HINCRBY', meta, 'o', 1))
  local now = now_ms()
  local id = offset .. '-' .. string.format('%d', now + ttl)
  place = offset .. ':' .. epoch
  redis.call('XADD', stream, 'MAXLEN', size, id, 'b', body)
  redis.call('PEXPIRE', stream, ttl)
  if string.sub(offset, -2) == '00' then
    trim(stream, now)
  end
end

if epoch or version ~= '0' then
  redis.call('PEXPIRE', meta, meta_ttl)
end
if seen then
  redis.call('SET', seen, place, 'PX', result_ttl)
end
redis.call(send, channel, place .. '\n' .. body)
return {0, place}
