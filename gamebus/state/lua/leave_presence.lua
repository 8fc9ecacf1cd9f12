-- A session leaves a room. Nothing happens when another session of the player has joined since. Returns 1 when it left.
--
-- KEYS  1 presence   2 sessions   3 heartbeats
-- ARGV  1 player   2 session

if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return 1
