-- Move marks of one topic forward, but only where Redis is what this process has seen of it: a mark that is lower than
-- expected, or missing, tells that Redis went back in time, and must stay to say how far. So does another life of the server:
-- effects younger than the mark may not have outlived the last one, and the mark cannot tell.
--
-- KEYS  1 marks (hash: partition -> offset)
-- ARGV  partition, life of the server that the caller knows, expected offset, new offset (0: read only), ...
-- Returns the life of the server, then the previous value of each, nil for none.

-- A new identity at every start. A failover has another one, too; where INFO is forbidden there is one life without end.
local info = redis.pcall('INFO', 'server')
local life = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''

local answer = {life}
for index = 1, #ARGV, 4 do
  local partition, known, expected, wanted = ARGV[index], ARGV[index + 1], tonumber(ARGV[index + 2]), tonumber(ARGV[index + 3])
  local found = redis.call('HGET', KEYS[1], partition)
  if found and known == life and tonumber(found) >= expected and wanted > tonumber(found) then
    redis.call('HSET', KEYS[1], partition, ARGV[index + 3])
  end
  answer[#answer + 1] = found
end
return answer
