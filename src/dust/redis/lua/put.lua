-- ARGV  4 the time in ms, or ''   5 the text   6 the fence's lease as it is written
if KEYS[5] and read(KEYS[5]) ~= ARGV[6] then return false end
local at, before = take()
local value = 'v' .. at .. ' ' .. ARGV[5]
if ARGV[4] == '' then
  redis.call('SET', KEYS[2], value)
else
  redis.call('SET', KEYS[2], value, 'PX', ARGV[4])
end
tell('s', before, at, at, ARGV[4] == '' and 0 or ARGV[4])
keep(ARGV[4])
return at
