-- ARGV  4 the fence's lease as it is written
if KEYS[4] and read(KEYS[4]) ~= ARGV[4] then return false end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[3])
local at, before = take()
tell('d', before, at, at, 0)
return at
