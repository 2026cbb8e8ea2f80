-- A page of what has a name between two bounds.
--   KEYS  1 the index   2 when names expire
--   ARGV  1 what stands before a name in its key   2, 3 the bounds   4 how many names   5 how many bytes
-- Returns whether there may be more, the last name looked at, and name, value, ms left of each.
local names = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
local found, gone, bytes, more = {}, {}, 0, #names == tonumber(ARGV[4])
local last = ''
for place, name in ipairs(names) do
  local key = ARGV[1] .. name
  local value = redis.pcall('GET', key)
  last = name
  if value == false then
    gone[#gone + 1] = name
  else
    if type(value) ~= 'string' then value = '' end
    local rest = string.sub(value, 1, 1) == 'l' and redis.call('PTTL', key) or 0
    found[#found + 1] = name
    found[#found + 1] = value
    found[#found + 1] = rest
    bytes = bytes + #value
    if bytes > tonumber(ARGV[5]) and place < #names then
      more = true
      break
    end
  end
end
-- What has expired left its name behind.
for _, name in ipairs(gone) do
  redis.call('ZREM', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
end
return {more and 1 or 0, last, found}
