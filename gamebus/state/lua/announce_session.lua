-- A session becomes the one of its player, and every gateway is told. Redis runs scripts one after the other, so of two
-- sessions that announce themselves at once the holder is the one whose message comes last.
--
-- KEYS  1 session (string: session)
-- ARGV  1 session   2 ttl_ms   3 channel   4 message

redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('PUBLISH', ARGV[3], ARGV[4])
