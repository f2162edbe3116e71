#!lua name=gostocks_2

-- What the processor writes to Redis, each as of a position in the log, and only if that is newer
-- than the position stored: so replaying any part of the log, from two writers at once, leaves
-- what one pass in order leaves.
--
-- A position is one string of fixed width, log id first, so that comparing two strings compares
-- two positions, and a newer log's writes win over an older one's.
--
-- Each write also says from which position the writer comes. Where Redis has less, it has lost
-- what it had (a replica that was behind took over), and the writer must read the log again.

-- Lua refuses to unpack more than some 8,000 values at once.
local CHUNK = 2000
local LOST = 'LOSTLOG Redis has lost what it held'
local ANOTHER = 'ANOTHERLOG Redis follows another log than the writer'
-- Of a position and of a stream's end: the log id.
local LOG = 32

local function call_with_all(command, key, args, first, last)
  for from = first, last, CHUNK do
    redis.call(command, key, unpack(args, from, math.min(from + CHUNK - 1, last)))
  end
end

-- keys, from `key`: a symbol's price, recent trades, and candles of each interval.
-- args, from `at`: its position, the position that the writer comes from ('' for none), the 15
-- values of its price, its recent trades ('' for none), then for each interval the number of candle
-- arguments (start and candle in turn), the number of expired candles, those, and these.
-- Returns what is wrong, or nil; whether it was accepted; where the next arguments are.
local function write_symbol(keys, key, intervals, args, at)
  local position, base = args[at], args[at + 1]
  local stored = redis.call('HGET', keys[key], 'position')
  local accepted = not stored or stored < position
  if base ~= '' and (not stored or stored < base) then
    return LOST
  end
  local v = at + 2
  if accepted then
    if stored and string.sub(stored, 1, LOG) ~= string.sub(position, 1, LOG) then
      -- Left by a writer that a rebuild overtook.
      for other = key, key + 1 + intervals do
        redis.call('DEL', keys[other])
      end
    end
    redis.call('HSET', keys[key], 'position', position,
      'price', args[v], 'timestamp', args[v + 1], 'volume', args[v + 2],
      'received_at', args[v + 3], 'price_position', args[v + 4],
      'day', args[v + 5], 'day_open', args[v + 6], 'day_high', args[v + 7],
      'day_low', args[v + 8], 'day_close', args[v + 9], 'day_volume', args[v + 10],
      'day_trades', args[v + 11], 'day_opened', args[v + 12], 'day_closed', args[v + 13],
      'symbol', args[v + 14])
    if args[v + 15] ~= '' then
      redis.call('SET', keys[key + 1], args[v + 15])
    else
      redis.call('DEL', keys[key + 1])
    end
  end
  v = v + 16
  for interval = key + 2, key + 1 + intervals do
    local candles, expired = tonumber(args[v]), tonumber(args[v + 1])
    local first = v + 2
    if accepted then
      call_with_all('HSET', keys[interval], args, first, first + candles - 1)
      call_with_all('HDEL', keys[interval], args, first + candles, first + candles + expired - 1)
    end
    v = first + candles + expired
  end
  return nil, accepted, v
end

-- keys, from `key`: a partition's stream and where it ends.
-- args, from `at`: the end that the writer knows ('' for none), about how many entries to keep, the
-- id below which entries go ('' for none), the number of entries, and of each its first and last
-- trade (fixed width), id, number of trades, and bytes.
-- Returns what is wrong, or nil; the stream's end where an entry overlaps it, or nil; where the
-- next arguments are. Nothing is appended from an entry that overlaps onwards.
local function append(keys, key, log, args, at)
  local stream, place = keys[key], keys[key + 1]
  local of, last = unpack(redis.call('HMGET', place, 'log', 'last'))
  if of ~= log then
    if of and of > log then
      return ANOTHER
    end
    redis.call('DEL', stream, place)
    last = false
  end
  local known, length, minimum, entries = args[at], args[at + 1], args[at + 2], tonumber(args[at + 3])
  if known ~= '' and (not last or last < known) then
    return LOST
  end
  local overlap
  local v = at + 4
  for _ = 1, entries do
    if not overlap and last and args[v] <= last then
      overlap = last
    end
    if not overlap then
      redis.call('XADD', stream, 'MAXLEN', '~', length, args[v + 2], 'log', log,
        'after', last or '', 'trades', args[v + 3], 'batch', args[v + 4])
      last = args[v + 1]
    end
    v = v + 5
  end
  if last then
    redis.call('HSET', place, 'log', log, 'last', last)
  end
  if minimum ~= '' then
    redis.call('XTRIM', stream, 'MINID', minimum)
  end
  return nil, overlap, v
end

-- args, from `at`: `count` times a partition's field, its place, and the place that the writer has
-- told before ('' for none).
local function write_places(key, count, args, at)
  for field = at, at + 3 * count - 1, 3 do
    local stored = redis.call('HGET', key, args[field])
    if args[field + 2] ~= '' and (not stored or stored < args[field + 2]) then
      return LOST
    end
    if not stored or stored < args[field + 1] then
      redis.call('HSET', key, args[field], args[field + 1])
    end
  end
end

local function check_log(key, log)
  local id = redis.call('HGET', key, 'id')
  if not id then
    return LOST
  end
  if id ~= log then
    return ANOTHER
  end
end

-- A batch, on a single Redis.
-- KEYS: the log's key; 2 + I a symbol; 2 a stream.
-- ARGV: log id, number of intervals I, symbols S, streams T and places P; what `write_symbol`,
-- `append` and `write_places` expect of each.
-- Returns the indexes (from 0) of the symbols that were refused for an older position, and of the
-- streams of which an entry overlaps, index and end in turn. The places are written only where
-- there is none of these, since they say that everything before them is there.
local function write(keys, args)
  local log, intervals, symbols = args[1], tonumber(args[2]), tonumber(args[3])
  local streams, places = tonumber(args[4]), tonumber(args[5])
  local wrong, accepted, overlap = check_log(keys[1], log), nil, nil
  if wrong then
    return redis.error_reply(wrong)
  end
  local refused, overlaps = {}, {}
  local at, key = 6, 2
  for symbol = 0, symbols - 1 do
    wrong, accepted, at = write_symbol(keys, key, intervals, args, at)
    if wrong then
      return redis.error_reply(wrong)
    end
    if not accepted then
      refused[#refused + 1] = symbol
    end
    key = key + 2 + intervals
  end
  for stream = 0, streams - 1 do
    wrong, overlap, at = append(keys, key, log, args, at)
    if wrong then
      return redis.error_reply(wrong)
    end
    if overlap then
      overlaps[#overlaps + 1] = tostring(stream)
      overlaps[#overlaps + 1] = overlap
    end
    key = key + 2
  end
  if #overlaps == 0 then
    wrong = write_places(keys[1], places, args, at)
    if wrong then
      return redis.error_reply(wrong)
    end
  end
  return { refused, overlaps }
end

-- The same in pieces, on a cluster, where each is in another slot.

-- KEYS: a symbol's. ARGV: number of intervals, then as `write_symbol` expects. Returns 1 where it
-- was accepted, 0 where Redis has a newer position.
local function symbol(keys, args)
  local wrong, accepted = write_symbol(keys, 1, tonumber(args[1]), args, 2)
  if wrong then
    return redis.error_reply(wrong)
  end
  return accepted and 1 or 0
end

-- KEYS: a stream's. ARGV: log id, then as `append` expects. Returns the end where an entry overlaps
-- it, else ''.
local function stream(keys, args)
  local wrong, overlap = append(keys, 1, args[1], args, 2)
  if wrong then
    return redis.error_reply(wrong)
  end
  return overlap or ''
end

-- KEYS: the log's key. ARGV: log id, number of places, then as `write_places` expects.
local function places(keys, args)
  local wrong = check_log(keys[1], args[1]) or write_places(keys[1], tonumber(args[2]), args, 3)
  if wrong then
    return redis.error_reply(wrong)
  end
  return redis.status_reply('OK')
end

-- KEYS: the mark of a master. ARGV: as for `places`.
local function mark(keys, args)
  local id = redis.call('HGET', keys[1], 'id')
  if id and id > args[1] then
    return redis.error_reply(ANOTHER)
  end
  if id ~= args[1] then
    redis.call('DEL', keys[1])
  end
  local wrong = write_places(keys[1], tonumber(args[2]), args, 3)
  if wrong then
    return redis.error_reply(wrong)
  end
  redis.call('HSET', keys[1], 'id', args[1])
  return redis.status_reply('OK')
end

-- KEYS: a symbol's. ARGV: of each interval its milliseconds and how many of the newest candles are
-- wanted, 0 for all. All as of one moment. The newest candle is the one of the latest trade.
local function load(keys, args)
  local newest = tonumber(redis.call('HGET', keys[1], 'timestamp') or 0)
  local candles = {}
  for interval = 1, #keys - 2 do
    local key = keys[interval + 2]
    local length, wanted = tonumber(args[2 * interval - 1]), tonumber(args[2 * interval])
    local found
    if wanted == 0 then
      found = redis.call('HGETALL', key)
    else
      local starts = {}
      for back = 0, wanted - 1 do
        starts[back + 1] = string.format('%.0f', newest - newest % length - back * length)
      end
      local values = redis.call('HMGET', key, unpack(starts))
      found = {}
      for number, value in ipairs(values) do
        if value then
          found[#found + 1] = starts[number]
          found[#found + 1] = value
        end
      end
    end
    candles[interval] = { redis.call('HLEN', key), found }
  end
  return { redis.call('HGETALL', keys[1]), redis.call('GET', keys[2]), candles }
end

-- KEYS: a stream. ARGV: the least id, how many. Returns ids and numbers of trades in turn.
local function entries(keys, args)
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', keys[1], args[1], '+', 'COUNT', args[2])) do
    found[#found + 1] = entry[1]
    found[#found + 1] = entry[2][6]
  end
  return found
end

local function reads(name, callback)
  redis.register_function { function_name = name, callback = callback, flags = { 'no-writes' } }
end

redis.register_function('gostocks_write_2', write)
redis.register_function('gostocks_symbol_2', symbol)
redis.register_function('gostocks_stream_2', stream)
redis.register_function('gostocks_places_2', places)
redis.register_function('gostocks_mark_2', mark)
reads('gostocks_load_2', load)
reads('gostocks_entries_2', entries)
