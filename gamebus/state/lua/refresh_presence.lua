-- A gateway says that its sessions are still in a room. A player whom Redis has forgotten (restart, expiry) is added again;
-- one that another session has taken over is left alone and returned.
--
-- KEYS  1 presence   2 sessions   3 heartbeats
-- ARGV  1 expires_ms   2 now_ms   3 ttl_ms of the keys   then player, session, player, session, ...

local presence, sessions, heartbeats = KEYS[1], KEYS[2], KEYS[3]

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', presence, '-inf', ARGV[2])) do
  redis.call('ZREM', presence, gone)
  redis.call('HDEL', sessions, gone)
  redis.call('HDEL', heartbeats, gone)
end

local replaced = {}
for index = 4, #ARGV, 2 do
  local player, session = ARGV[index], ARGV[index + 1]
  local holder = redis.call('HGET', sessions, player)
  if holder and holder ~= session then
    replaced[#replaced + 1] = player
  else
    redis.call('ZADD', presence, 'GT', ARGV[1], player)
    redis.call('HSET', sessions, player, session)
  end
end
redis.call('PEXPIRE', presence, ARGV[3])
redis.call('PEXPIRE', sessions, ARGV[3])
return replaced
