-- Apply events of one room, read in order from one topic partition, each at most once.
--
-- An event is a duplicate when its offset was applied before (Kafka delivered it again), or when its identity was (its
-- publisher sent it again). Check and effect are this one script, so a crash between the two does not exist.
--
-- KEYS  1 applied (hash: "topic/partition" -> offsets applied, "forgotten" -> identities that have left the windows)
--       2 totals (hash: event type -> events applied)
--       3 scores (hash: "player/kind" -> count)
--       4 .. 3+L lists of entries, newest first
--       4+L ..   windows of identities, one for each topic (zset: identity -> record time), this topic's first
-- ARGV  1 "topic/partition"   2 ttl_ms of all keys   3 window_ms   4 window size   5 most ranges of applied offsets
--       6 offset up to which the caller applied the events of this room before, or ''
--       7 msgpack: longest length of each of the L lists
--       8 msgpack: events [offset, identity, record_ms, type, list, entry, [score, ...]]
-- Returns a string with a character for each event: 1 applied, 0 duplicate.

local applied_key, totals_key, scores_key = KEYS[1], KEYS[2], KEYS[3]
local source, window_ms = ARGV[1], tonumber(ARGV[3])
local previous = tonumber(ARGV[6])
local list_lengths, events = cmsgpack.unpack(ARGV[7]), cmsgpack.unpack(ARGV[8])
local first_window = 4 + #list_lengths

-- The applied offsets as ascending ranges "from-to@ms", with a record time of the upper end. Not one highest offset: a Redis
-- restored from an older copy is handed newer events before anyone notices, and the lost ones between are not applied.
local ranges = {}
for from, to, ms in string.gmatch(redis.call('HGET', applied_key, source) or '', '(%d+)-(%d+)@(-?%d+)') do
  ranges[#ranges + 1] = {tonumber(from), tonumber(to), tonumber(ms)}
end

local function offset_applied(offset)
  for index = #ranges, 1, -1 do
    if offset >= ranges[index][1] then
      return offset <= ranges[index][2]
    end
  end
  return false
end

-- One call for each window: a call costs Redis more than the look-up it asks for.
local seen, identities = {}, {}
for index, event in ipairs(events) do
  identities[index] = event[2]
end
for index = first_window, #KEYS do
  for at, known in ipairs(redis.call('ZMSCORE', KEYS[index], unpack(identities))) do
    if known then
      seen[identities[at]] = true
    end
  end
end

-- Record times lie between what was reached below these events and now: the clock of a gateway that is behind must not let its
-- identities leave the window at once, nor one that is ahead empty it. Below, since a rebuild goes through the times of long ago.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local floor_ms = -math.huge
for _, range in ipairs(ranges) do
  if range[1] <= events[1][1] then
    floor_ms = math.min(range[3], now_ms)
  end
end

local outcome, counts, scores, oldest_ms = {}, {}, {}, math.huge
local members, entries = {}, {}
for index, event in ipairs(events) do
  local offset, identity, record_ms, type, list, entry = unpack(event, 1, 6)
  record_ms = math.max(record_ms, floor_ms)
  if offset_applied(offset) or seen[identity] then
    outcome[index] = '0'
  else
    outcome[index] = '1'
    seen[identity] = true
    members[#members + 1] = record_ms
    members[#members + 1] = identity
    entries[list] = entries[list] or {}
    table.insert(entries[list], entry)
    counts[type] = (counts[type] or 0) + 1
    for _, score in ipairs(event[7]) do
      scores[score] = (scores[score] or 0) + 1
    end
  end
  oldest_ms = math.min(oldest_ms, record_ms)
end

if #members > 0 then
  redis.call('ZADD', KEYS[first_window], unpack(members))
end
for list, added in pairs(entries) do
  redis.call('LPUSH', KEYS[3 + list], unpack(added))
  redis.call('LTRIM', KEYS[3 + list], 0, list_lengths[list] - 1)
end
for type, count in pairs(counts) do
  redis.call('HINCRBY', totals_key, type, count)
end
for score, count in pairs(scores) do
  redis.call('HINCRBY', scores_key, score, count)
end

-- Every event of this room between the first and the last of this call is in it, so the whole range is applied now.
local first, last, ms = events[1][1], events[#events][1], oldest_ms
if previous and previous < first then
  for _, range in ipairs(ranges) do
    -- There is none between the caller's events of before and these. If those are not here, Redis went back in time.
    if range[1] <= previous and previous <= range[2] and range[2] < first then
      first = range[2] + 1
    end
  end
end
local merged, placed = {}, false
for _, range in ipairs(ranges) do
  if range[2] + 1 < first then
    merged[#merged + 1] = range
  elseif range[1] > last + 1 then
    if not placed then
      merged[#merged + 1] = {first, last, ms}
      placed = true
    end
    merged[#merged + 1] = range
  else
    first = math.min(first, range[1])
    if range[2] > last then
      last, ms = range[2], range[3]
    end
  end
end
if not placed then
  merged[#merged + 1] = {first, last, ms}
end
-- Past the bound the lowest gap closes: Kafka is read upwards, so the reader has passed it.
while #merged > tonumber(ARGV[5]) do
  merged[2][1] = merged[1][1]
  table.remove(merged, 1)
end
local text = {}
for index, range in ipairs(merged) do
  text[index] = string.format('%.0f-%.0f@%.0f', range[1], range[2], range[3])
end
redis.call('HSET', applied_key, source, table.concat(text, ' '))

-- The window ends an hour of record time before the lowest gap: re-sends of events that were lost above it are still to come.
local reached_ms = math.min(merged[1][3], now_ms)
local window = KEYS[first_window]
local forgotten = redis.call('ZREMRANGEBYSCORE', window, '-inf', string.format('(%.0f', reached_ms - window_ms))
forgotten = forgotten + redis.call('ZREMRANGEBYRANK', window, 0, -1 - tonumber(ARGV[4]))
if forgotten > 0 then
  redis.call('HINCRBY', applied_key, 'forgotten', forgotten)
end

-- All at the same moment: effects without their offsets would be applied again, offsets without their effects never.
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[2])
end
return table.concat(outcome)
