-- Write rows of the loss ledger of one topic partition; past a number of rows those go that were written longest ago.
--
-- KEYS  1 loss (hash: boot -> msgpack [written_ms, ...])
-- ARGV  1 ttl_ms of the key   2 most rows   then boot, row, boot, row, ...

for index = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])

local surplus = redis.call('HLEN', KEYS[1]) - tonumber(ARGV[2])
if surplus > 0 then
  local entries, ages = redis.call('HGETALL', KEYS[1]), {}
  for index = 1, #entries, 2 do
    ages[#ages + 1] = {entries[index], cmsgpack.unpack(entries[index + 1])[1]}
  end
  table.sort(ages, function(left, right) return left[2] < right[2] end)
  for index = 1, surplus do
    redis.call('HDEL', KEYS[1], ages[index][1])
  end
end
return surplus
