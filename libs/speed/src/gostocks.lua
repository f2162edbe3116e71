#!lua name=gostocks_7

-- What the processor writes to Redis, each as of a position in the log, and only if that is newer
-- than the position stored: so replaying any part of the log, from two writers at once, leaves
-- what one pass in order leaves.
--
-- A position is one string of fixed width, log id first, so that comparing two strings compares
-- two positions, and a newer log's writes win over an older one's.
--
-- Each write also says from which position the writer comes. Where Redis has less, it has lost
-- what it had (a replica that was behind took over), and the writer must read the log again.
--
-- On a single Redis a writer also claims the partitions whose symbols it writes. While its claims
-- hold, nobody else has written these symbols, and what it has written is what is stored: to read
-- that back, symbol by symbol, would cost a tenth of a call. A writer also has a key of its own, its
-- presence, which goes with the first of its claims that somebody else takes; so one that watches
-- that key may also write by plain commands in a transaction (see transaction.rs).

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

local function get_all(key, fields)
  if #fields <= CHUNK then
    return redis.call('HMGET', key, unpack(fields))
  end
  local found = {}
  for from = 1, #fields, CHUNK do
    local some = redis.call('HMGET', key, unpack(fields, from, math.min(from + CHUNK - 1, #fields)))
    for _, value in ipairs(some) do
      found[#found + 1] = value
    end
  end
  return found
end

-- Forgets the candles that start before a moment.
local function forget_before(key, before)
  local old = {}
  for _, start in ipairs(redis.call('HKEYS', key)) do
    if tonumber(start) < before then
      old[#old + 1] = start
    end
  end
  call_with_all('HDEL', key, old, 1, #old)
end

-- Reads the longer form of what changes of a symbol: the pieces of its ring, whose number is
-- `args[at]`, and the intervals. Writes nothing.
-- Returns them, and where the next arguments and keys are.
local function read_changes(key, args, at)
  local what = { ring = at + 1, pieces = tonumber(args[at]), intervals = {} }
  local v = what.ring + 2 * what.pieces
  local intervals = tonumber(args[v])
  v = v + 1
  for interval = 1, intervals do
    local first = v + 3
    local expired = first + tonumber(args[v])
    local next_one = expired + tonumber(args[v + 1])
    what.intervals[interval] = { gone = args[v + 2], first = first, expired = expired, last = next_one - 1 }
    v = next_one
  end
  return what, v, key + 2 + intervals
end

local function write_changes(keys, key, args, what, forgets)
  for number, interval in ipairs(what.intervals) do
    local candles = keys[key + 1 + number]
    if interval.gone == '*' then
      redis.call('UNLINK', candles)
    elseif interval.gone ~= '' then
      forget_before(candles, tonumber(interval.gone))
    end
    call_with_all('HSET', candles, args, interval.first, interval.expired - 1)
    call_with_all('HDEL', candles, args, interval.expired, interval.last)
  end
  if forgets then
    redis.call('DEL', keys[key + 1])
  end
  for piece = what.ring, what.ring + 2 * what.pieces - 1, 2 do
    redis.call('SETRANGE', keys[key + 1], args[piece], args[piece + 1])
  end
end

-- keys, from `key`: a symbol's price, recent trades, and candles of each interval that changes
-- beside the newest candle; of all intervals where the writer comes from nowhere.
-- args, from `at`: its position, the position that the writer comes from ('' for none), price, time,
-- volume, time of receipt and place of its latest trade, its day, its newest candles, then what else
-- changes. Nearly always that is one piece of the ring of its recent trades: '', where it begins,
-- the piece. Else: whether its recent trades are forgotten first (1 or 0), how many pieces of their
-- ring there are, of each where it begins and what it is; the number of intervals whose keys there
-- are, then for each of them the number of candle arguments (start and candle in turn), the number
-- of expired candles, what else expired ('' for nothing, '*' for all that was there, else all before
-- that start), those, and these.
-- The position goes last, so that there is none without its candles, whatever goes wrong.
-- `holds`: what is stored is known to be the base.
-- Returns what is wrong, or nil; whether the writer's state is as Redis is now: not where it was
-- refused, nor where somebody else has written since its base; where the next arguments and keys are.
local function write_symbol(keys, key, args, at, holds)
  local price, position, base = keys[key], args[at], args[at + 1]
  local stored = base
  holds = holds and base ~= ''
  if not holds then
    stored = redis.call('HGET', price, 'position')
    if base ~= '' and (not stored or stored < base) then
      return LOST
    end
  end
  local accepted = not stored or stored < position
  local forgets, what, v, next_key = args[at + 9], nil, at + 12, key + 2
  if forgets ~= '' then
    what, v, next_key = read_changes(key, args, at + 10)
  end
  if accepted then
    -- A base is of this log: where it is what is stored, there is nothing to compare.
    if stored ~= base and (not stored or string.sub(stored, 1, LOG) ~= string.sub(position, 1, LOG)) then
      -- Left by a writer that a rebuild overtook, or by nobody that we know.
      for other = key, next_key - 1 do
        redis.call('UNLINK', keys[other])
      end
    end
    if what then
      write_changes(keys, key, args, what, forgets == '1')
    else
      redis.call('SETRANGE', keys[key + 1], args[at + 10], args[at + 11])
    end
    local added = redis.call('HSET', price, 'price', args[at + 2], 'timestamp', args[at + 3],
      'volume', args[at + 4], 'received_at', args[at + 5], 'price_position', args[at + 6],
      'day', args[at + 7], 'candles', args[at + 8], 'position', position)
    if holds and added > 0 then
      -- Somebody deleted it.
      redis.call('UNLINK', price)
      return LOST
    end
  end
  return nil, accepted and (base == '' or stored == base), v, next_key
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

-- Whoever's claim this is has it no more: its presence goes, a key that KEYS cannot name before.
local function dispossess(claim, presence)
  local of, own = string.match(presence, '^(.*:)([^:]*)$')
  local other = string.match(claim, '^[^.]*')
  if other ~= own then
    redis.call('DEL', of .. other)
  end
end

-- presence: the writer's key, which is made where it is not there and a claim was found or made.
-- args, from `at`, of each of `count` partitions: its number, the place that the writer has told
-- before ('' for none), the place to tell now ('' for none), the writer's claim, and 1 where it is
-- made by this call, else ''.
-- Returns what is wrong, or nil; whether all claims hold; the indexes (from 0) of the partitions
-- whose claim was lost, to whoever; what of places is to be told; where the next arguments are;
-- whether the presence was made by this call: claims to other partitions may be lost, too.
local function open(key, presence, log, count, args, at)
  local fields, next_at = { 'id' }, at + 5 * count
  for v = at, next_at - 1, 5 do
    fields[#fields + 1] = 'partition.' .. args[v]
    fields[#fields + 1] = 'writer.' .. args[v]
  end
  local stored = get_all(key, fields)
  if not stored[1] then
    return LOST
  end
  if stored[1] ~= log then
    return ANOTHER
  end
  local holds, claims, lost, places = true, {}, {}, {}
  for number = 0, count - 1 do
    local v, field = at + 5 * number, 2 * number + 2
    local place, told, now = stored[field], args[v + 1], args[v + 2]
    if told ~= '' and (not place or place < told) then
      return LOST
    end
    if now ~= '' and (not place or place < now) then
      places[#places + 1] = fields[field]
      places[#places + 1] = now
    end
    local is_followed = (place or '') == told
    if stored[field + 1] ~= args[v + 3] or not is_followed then
      holds = false
      if stored[field + 1] then
        dispossess(stored[field + 1], presence)
      end
      if args[v + 4] == '1' and is_followed then
        claims[#claims + 1] = fields[field + 1]
        claims[#claims + 1] = args[v + 3]
      else
        -- Nobody's, so that whoever had it learns of this write. So, too, as long as somebody has
        -- told a place that the writer does not know of: another writer is or was ahead. (One of an
        -- older version claims nothing, and tells its places after the rest of its batch. So it may
        -- share the topic with this one, but not a partition.)
        lost[#lost + 1] = number
        redis.call('HDEL', key, fields[field + 1])
      end
    end
  end
  call_with_all('HSET', key, claims, 1, #claims)
  local is_made = #lost < count and redis.call('SET', presence, '', 'NX') and 1 or 0
  return nil, holds, lost, places, next_at, is_made
end

-- A batch, on a single Redis.
-- KEYS: the log's key; the writer's presence; a symbol's; 2 a stream.
-- ARGV: log id, number of partitions, symbols and streams, and 1 where every symbol was loaded or
-- written under the claims, else ''; what `open`, `write_symbol` and `append` expect of each. The
-- partitions are those of the symbols, and those whose places are told.
-- Returns the indexes (from 0) of the symbols that are to be loaded anew; of the streams of which an
-- entry overlaps, index and end in turn; and of the partitions whose claim was lost; and 1 where the
-- presence was made by this call, else 0. The places are told only where no entry overlaps, since
-- they say that everything before them is there.
local function write(keys, args)
  local log, partitions = args[1], tonumber(args[2])
  local symbols, streams = tonumber(args[3]), tonumber(args[4])
  local wrong, holds, lost, places, at, is_made = open(keys[1], keys[2], log, partitions, args, 6)
  if wrong then
    return redis.error_reply(wrong)
  end
  holds = holds and args[5] == '1'
  local is_as_here, overlap
  local anew, overlaps = {}, {}
  local key = 3
  for symbol = 0, symbols - 1 do
    wrong, is_as_here, at, key = write_symbol(keys, key, args, at, holds)
    if wrong then
      return redis.error_reply(wrong)
    end
    if not is_as_here then
      anew[#anew + 1] = symbol
    end
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
    call_with_all('HSET', keys[1], places, 1, #places)
  end
  return { anew, overlaps, lost, is_made }
end

-- The same in pieces, on a cluster, where each is in another slot.

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

-- KEYS: a symbol's. ARGV: as `write_symbol` expects. Returns 0 where it is to be loaded anew, else 1.
local function symbol(keys, args)
  local wrong, is_as_here = write_symbol(keys, 1, args, 1, false)
  if wrong then
    return redis.error_reply(wrong)
  end
  return is_as_here and 1 or 0
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
-- wanted, 0 for all. All as of one moment. The newest candle is the one of the latest trade, and
-- stands among the price's fields.
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

-- KEYS: a stream. ARGV: from where, how many. Returns ids and numbers of trades in turn.
local function entries(keys, args)
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', keys[1], args[1], '+', 'COUNT', args[2])) do
    found[#found + 1] = entry[1]
    found[#found + 1] = tonumber(entry[2][6]) or 0
  end
  return found
end

local function reads(name, callback)
  redis.register_function { function_name = name, callback = callback, flags = { 'no-writes' } }
end

redis.register_function('gostocks_write_7', write)
redis.register_function('gostocks_symbol_7', symbol)
redis.register_function('gostocks_stream_7', stream)
redis.register_function('gostocks_places_7', places)
redis.register_function('gostocks_mark_7', mark)
reads('gostocks_load_7', load)
reads('gostocks_entries_7', entries)
