-- Every script begins with this.
--   KEYS  1 the last number   2 the key   3 the index   4 the fence's lock key
--   ARGV  1 the channel       2 the highest number the caller knows   3 the name told in events

-- What is at a key; '' if it is not text, nil if there is nothing.
local function read(key)
  local value = redis.pcall('GET', key)
  if value == false then return nil end
  return type(value) == 'string' and value or ''
end

-- The next number, and the one before it.
local function take()
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
  local at = math.max(time[1] * 1000000 + time[2], last + 1, ARGV[2] + 1)
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

-- Takes a lease off its key. The deletion comes first: a full server allows it, and then the rest.
local function free(token)
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[3])
  local at, before = take()
  tell('f', before, at, token, 0)
end

