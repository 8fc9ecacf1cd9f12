-- Note an alert that is over, unless it is there: several dashboards judge the same fleet and agree on what fires, not on the
-- moment. Two entries of one alert and process that overlap in time are the same.
--
-- KEYS  1 history (list of msgpack `[name, process_id, process, role, value, fired_ms, resolved_ms]`, newest first)
-- ARGV  entry, entries to keep, how long to keep them (ms)
-- Returns the whole history.

local entry = cmsgpack.unpack(ARGV[1])
local known = redis.call('LRANGE', KEYS[1], 0, -1)
for _, value in ipairs(known) do
  local other = cmsgpack.unpack(value)
  if other[1] == entry[1] and other[2] == entry[2] and other[6] <= entry[7] and entry[6] <= other[7] then
    return known
  end
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('LRANGE', KEYS[1], 0, -1)
