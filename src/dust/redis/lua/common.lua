-- Every script that writes begins with this.
--   KEYS  1 the last number   2 the key   3 the index   4 when names expire   5 the fence's lock key
--   ARGV  1 the channel       2 the highest number the caller knows   3 the name told in events

-- A number that is further ahead of the clock, in microseconds, was not given by a server: a day.
local AHEAD = 86400000000
-- So many expired names are taken out per write: more than a write adds.
local TRIMMED = 4

local time = redis.call('TIME')
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

-- The next number, and the one before it. A last number that nobody can have given is not gone on
-- from: it would use up all there are.
local function take()
  local last = sane(read(KEYS[1]))
  local at = math.max(now, last + 1, sane(ARGV[2]) + 1)
  at = string.format('%.0f', at)
  redis.call('SET', KEYS[1], at)
  return at, string.format('%.0f', last)
end

-- Tells a change: each event names the one before it, so that a gap is seen.
local function tell(what, before, at, number, ttl)
  redis.call('PUBLISH', ARGV[1], table.concat({what, before, at, number, ttl, ARGV[3]}, ' '))
end

-- The token of a lease and its holder, if a value is one.
local function lease_in(value)
  if not value or string.sub(value, 1, 1) ~= 'l' then return nil end
  local gap = string.find(value, ' ', 2, true)
  if not gap then return nil end
  return string.sub(value, 2, gap - 1), string.sub(value, gap + 1)
end

-- When a time in ms from now is over, in ms.
local function over(ms)
  return string.format('%.0f', math.ceil(now / 1000) + ms)
end

-- Takes names of what has expired out of the index. Always a script's last step: on a full server
-- the first write decides whether a script may write at all.
local function trim()
  local before = string.sub(KEYS[2], 1, #KEYS[2] - #ARGV[3])
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', over(0), 'LIMIT', 0, TRIMMED)) do
    local left = redis.call('PTTL', before .. name)
    if left == -2 then redis.call('ZREM', KEYS[3], name) end
    if left < 0 then
      redis.call('ZREM', KEYS[4], name)
    else
      redis.call('ZADD', KEYS[4], over(left + 1), name)
    end
  end
end

-- Keeps the name of what is at the key, for so many ms, or '' for ever.
local function keep(ms)
  redis.call('ZADD', KEYS[3], 0, ARGV[3])
  if ms == '' then
    redis.call('ZREM', KEYS[4], ARGV[3])
  else
    redis.call('ZADD', KEYS[4], over(ms), ARGV[3])
  end
  trim()
end

-- Takes what is at the key away. It comes first: a full server allows it, and then the rest.
local function remove()
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('ZREM', KEYS[4], ARGV[3])
end

-- Takes a lease off its key.
local function free(token)
  remove()
  local at, before = take()
  tell('f', before, at, token, 0)
  trim()
end

