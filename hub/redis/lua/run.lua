-- What scripts begin with that get the server's run in front of their arguments: the id of its process, which ends with
-- the connection by which it was asked. Behind a colon comes the id of its data, which every promotion of a replica
-- changes, and which may thus be another one than at connect.
do
  local info = redis.pcall('INFO', 'replication')
  if type(info) == 'string' then
    local _, at = string.find(info, 'master_replid:', 1, true)
    if at then
      ARGV[1] = ARGV[1] .. ':' .. string.sub(info, at + 1, at + 40)
    end
  end
end

