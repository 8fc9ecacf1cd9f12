-- Heartbeats keep players present who are so already; they never bring one back who has left. Returns how many were kept.
--
-- KEYS  1 presence   2 sessions   3 heartbeats (hash: player -> msgpack)   4 positions
-- ARGV  1 ttl_ms of presence and sessions   2 ttl_ms of heartbeats and positions   then player, expires_ms, value, ...

local kept = 0
for index = 3, #ARGV, 3 do
  local player = ARGV[index]
  if redis.call('ZSCORE', KEYS[1], player) then
    redis.call('ZADD', KEYS[1], 'XX', 'GT', ARGV[index + 1], player)
    redis.call('HSET', KEYS[3], player, ARGV[index + 2])
    kept = kept + 1
  end
end
if kept > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[3], ARGV[2])
  -- Players who stand still send no positions; their last one lasts as long as they are here.
  redis.call('PEXPIRE', KEYS[4], ARGV[2])
end
return kept
