-- A gateway says that it lives, and hears which gateways do. Time is that of Redis, so gateways need no common clock.
--
-- KEYS  1 gateways (zset: url -> Redis's Unix ms when it expires)
-- ARGV  1 url   2 expiry_ms

local seconds, microseconds = unpack(redis.call('TIME'))
local now_ms = seconds * 1000 + math.floor(microseconds / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
redis.call('ZADD', KEYS[1], now_ms + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
