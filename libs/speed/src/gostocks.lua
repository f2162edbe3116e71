#!lua name=gostocks_1

-- What the processor writes to Redis, each as of a position in the log, and only if that is newer
-- than the position stored: so replaying any part of the log, from two writers at once, leaves
-- what one pass in order leaves.
--
-- A position is one string of fixed width, log id first, so that comparing two strings compares
-- two positions, and a newer log's writes win over an older one's.

-- Lua refuses to unpack more than some 8,000 values at once.
local CHUNK = 2000

local function call_with_all(command, key, args, first, last)
  for from = first, last, CHUNK do
    redis.call(command, key, unpack(args, from, math.min(from + CHUNK - 1, last)))
  end
end

-- KEYS: the log's key, then two a symbol: its price and its 1 m candles.
-- ARGV: log id, number of partitions P, P x (field, place); then for each symbol its position, the
-- number C of candle arguments (field and value in turn), the number E of expired candles, the 15
-- values of its price, C candle arguments, E fields.
-- Returns the indexes (from 0) of the symbols that were refused for an older position.
local function write(keys, args)
  local id = redis.call('HGET', keys[1], 'id')
  if not id then
    return redis.error_reply('LOSTLOG Redis has lost what it held')
  end
  if id ~= args[1] then
    return redis.error_reply('ANOTHERLOG Redis follows another log than the writer')
  end
  local refused = {}
  local at = 3 + 2 * tonumber(args[2])
  for key = 2, #keys, 2 do
    local position, candles, expired = args[at], tonumber(args[at + 1]), tonumber(args[at + 2])
    local v = at + 3
    local stored = redis.call('HGET', keys[key], 'position')
    if stored and stored >= position then
      refused[#refused + 1] = (key - 2) / 2
    else
      redis.call('HSET', keys[key], 'position', position,
        'price', args[v], 'timestamp', args[v + 1], 'volume', args[v + 2],
        'received_at', args[v + 3], 'price_position', args[v + 4],
        'day', args[v + 5], 'day_open', args[v + 6], 'day_high', args[v + 7],
        'day_low', args[v + 8], 'day_close', args[v + 9], 'day_volume', args[v + 10],
        'day_trades', args[v + 11], 'day_opened', args[v + 12], 'day_closed', args[v + 13],
        'symbol', args[v + 14])
      local first = v + 15
      call_with_all('HSET', keys[key + 1], args, first, first + candles - 1)
      call_with_all('HDEL', keys[key + 1], args, first + candles, first + candles + expired - 1)
    end
    at = v + 15 + candles + expired
  end
  for field = 3, 2 + 2 * tonumber(args[2]), 2 do
    local stored = redis.call('HGET', keys[1], args[field])
    if not stored or stored < args[field + 1] then
      redis.call('HSET', keys[1], args[field], args[field + 1])
    end
  end
  return refused
end

-- KEYS: a symbol's price and its 1 m candles. Both as of one moment.
local function load(keys)
  return { redis.call('HGETALL', keys[1]), redis.call('HGETALL', keys[2]) }
end

redis.register_function('gostocks_write_1', write)
redis.register_function {
  function_name = 'gostocks_load_1', callback = load, flags = { 'no-writes' }
}
