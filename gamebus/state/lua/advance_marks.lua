-- Move marks of one topic forward, but only where Redis is what this process has seen of it: a mark that is lower than
-- expected, or missing, tells that Redis went back in time, and must stay to say how far.
--
-- KEYS  1 marks (hash: partition -> offset)
-- ARGV  partition, expected offset, new offset, ...
-- Returns the previous value of each, nil for none.

local previous = {}
for index = 1, #ARGV, 3 do
  local partition, expected, wanted = ARGV[index], tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2])
  local found = redis.call('HGET', KEYS[1], partition)
  if found and tonumber(found) >= expected and wanted > tonumber(found) then
    redis.call('HSET', KEYS[1], partition, ARGV[index + 2])
  end
  previous[#previous + 1] = found
end
return previous
