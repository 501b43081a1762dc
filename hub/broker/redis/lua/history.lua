-- KEYS: meta, stream.
-- ARGV: run, fresh epoch, meta ttl (ms), epoch wanted ('' for any), XRANGE or XREVRANGE ('' for the position only),
-- its two bounds, count.
-- Returns top offset, epoch, and the entries.
local meta, stream = KEYS[1], KEYS[2]
local run, fresh, meta_ttl, wanted, command = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local epoch = epoch_of(meta, stream, run, fresh)
if redis.call('PTTL', meta) < 0 then
  redis.call('PEXPIRE', meta, meta_ttl)
end

local entries = {}
if command ~= '' and (wanted == '' or wanted == epoch) then
  trim(stream, now_ms())
  entries = redis.call(command, stream, ARGV[6], ARGV[7], 'COUNT', ARGV[8])
end
return {redis.call('HGET', meta, 'o') or '0', epoch, entries}
