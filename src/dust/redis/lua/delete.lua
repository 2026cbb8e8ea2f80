-- ARGV  4 the fence's lease as it is written
if KEYS[5] and read(KEYS[5]) ~= ARGV[4] then return false end
local body = beside(read(KEYS[2]), ARGV[3])
remove()
if body then call('DEL', body) end
local at, before = take(1)
tell('d', before, at, at, 0, ARGV[3])
trim()
return at
