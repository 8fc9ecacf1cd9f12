-- Forget positions that are older than a bound and whose player is not in the room. Returns how many were forgotten.
--
-- KEYS  1 positions (hash: player -> msgpack [server_ms, data])   2 presence (zset: player -> Unix ms when it expires)
-- ARGV  1 now_ms   2 oldest server_ms to keep without presence

local now_ms, oldest_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local entries = redis.call('HGETALL', KEYS[1])
local forgotten = 0
for index = 1, #entries, 2 do
  if cmsgpack.unpack(entries[index + 1])[1] < oldest_ms then
    local expires_ms = redis.call('ZSCORE', KEYS[2], entries[index])
    if not expires_ms or tonumber(expires_ms) <= now_ms then
      redis.call('HDEL', KEYS[1], entries[index])
      forgotten = forgotten + 1
    end
  end
end
return forgotten
