-- Takes names out of the index whose keys are gone.
--   KEYS  1 the index   2 when names expire
--   ARGV  1 what stands before a name in its key   2 how many names at most   3 from which name on, or ''
-- Returns the last name looked at, '' if there are no more. From which name on: a walk through all of
-- the index, for what an earlier version or another client has left without saying when it expires.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function look(name)
  local left = redis.call('PTTL', ARGV[1] .. name)
  if left == -2 then redis.call('ZREM', KEYS[1], name) end
  if left < 0 then
    redis.call('ZREM', KEYS[2], name)
  else
    -- A full server takes no new ones: then at the next walk.
    redis.pcall('ZADD', KEYS[2], string.format('%.0f', now + left + 1), name)
  end
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])) do look(name) end
if ARGV[3] == '' then return '' end
local names = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[3], '+', 'LIMIT', 0, ARGV[2])
for _, name in ipairs(names) do look(name) end
return #names == tonumber(ARGV[2]) and names[#names] or ''
