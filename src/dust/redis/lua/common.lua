-- Every script that writes begins with this.
--   KEYS  1 the last number   2 the key   3 the index   4 when names expire   5… more keys
--   ARGV  1 the channel       2 the highest number the caller knows   3 the key's name

-- A number that is further ahead of the clock, in microseconds, was not given by a server: a day.
local AHEAD = 86400000000
-- So many expired names are taken out per write: more than a write adds.
local TRIMMED = 4
-- What stands before a name in its key.
local BEFORE = string.sub(KEYS[2], 1, #KEYS[2] - #ARGV[3])

local call, sub, byte, format = redis.call, string.sub, string.byte, string.format
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

-- What is at a key; '' if it is not text, nil if there is nothing.
local function read(key)
  local value = redis.pcall('GET', key)
  if value == false then return nil end
  return type(value) == 'string' and value or ''
end

-- A number that a server can have given; else 0.
local function sane(text)
  local number = tonumber(text) or 0
  if number >= 0 and number <= now + AHEAD then return number end
  return 0
end

-- A number in digits. In two parts, for an integer of a script may have 32 bits.
local function digits(number)
  if number < 1000000 then return format('%d', number) end
  local low = number % 1000000
  return format('%d%06d', (number - low) / 1000000, low)
end

-- The next number, of so many in a row, and the one before it. A last number that nobody can have
-- given is not gone on from: it would use up all there are.
local function take(count)
  local last = sane(read(KEYS[1]))
  local at = math.max(now, last + 1, sane(ARGV[2]) + 1)
  call('SET', KEYS[1], digits(at + count - 1))
  return digits(at), digits(last)
end

-- Tells a change: each event names the one before it, so that a gap is seen.
local function tell(what, before, at, number, ttl, name)
  call('PUBLISH', ARGV[1], what .. ' ' .. before .. ' ' .. at .. ' ' .. number .. ' ' .. ttl .. ' ' .. name)
end

-- The token of a lease and its holder, if a value is one.
local function lease_in(value)
  if not value or byte(value) ~= 108 then return nil end
  local gap = string.find(value, ' ', 2, true)
  if not gap then return nil end
  return sub(value, 2, gap - 1), sub(value, gap + 1)
end

-- The key of the bytes beside what is at a name, if it has any.
local function beside(value, name)
  if not value or byte(value) ~= 98 then return nil end
  local tail = string.match(value, '^b%d+ (%S+) ')
  return tail and sub(BEFORE, 1, -2) .. '=' .. name .. '/' .. tail
end

-- When a time in ms from now is over, in ms.
local function over(ms)
  return digits(math.ceil(now / 1000) + ms)
end

-- Takes names of what has expired out of the index. Always a script's last step: on a full server
-- the first write decides whether a script may write at all.
local function trim()
  for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[4], '-inf', over(0), 'LIMIT', 0, TRIMMED)) do
    local left = call('PTTL', BEFORE .. name)
    if left == -2 then call('ZREM', KEYS[3], name) end
    if left < 0 then
      call('ZREM', KEYS[4], name)
    else
      call('ZADD', KEYS[4], over(left + 1), name)
    end
  end
end

-- Keeps the name of what is at a key, for so many ms, or '' for ever.
local function keep(name, ms)
  call('ZADD', KEYS[3], 0, name)
  if ms == '' then
    call('ZREM', KEYS[4], name)
  else
    call('ZADD', KEYS[4], over(ms), name)
  end
end

-- Writes text at a key.
local function write(key, text, ms)
  if ms == '' then
    call('SET', key, text)
  else
    call('SET', key, text, 'PX', ms)
  end
end

-- Takes what is at the key away. A full server allows that as a first step, and then the rest.
local function remove()
  call('DEL', KEYS[2])
  call('ZREM', KEYS[3], ARGV[3])
  call('ZREM', KEYS[4], ARGV[3])
end

