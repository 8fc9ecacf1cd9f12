-- A session of a player enters a room, or says again that it is there. The last session to join is the player's.
--
-- KEYS  1 presence (zset: player -> Unix ms when it expires)
--       2 sessions (hash: player -> session)
--       3 heartbeats (hash: player -> msgpack)
-- ARGV  1 player   2 session   3 expires_ms   4 now_ms   5 ttl_ms of the keys

local presence, sessions, heartbeats = KEYS[1], KEYS[2], KEYS[3]

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', presence, '-inf', ARGV[4])) do
  redis.call('ZREM', presence, gone)
  redis.call('HDEL', sessions, gone)
  redis.call('HDEL', heartbeats, gone)
end

redis.call('ZADD', presence, ARGV[3], ARGV[1])
redis.call('HSET', sessions, ARGV[1], ARGV[2])
redis.call('PEXPIRE', presence, ARGV[5])
redis.call('PEXPIRE', sessions, ARGV[5])
return 1
