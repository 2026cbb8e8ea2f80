-- ARGV  4 the fence's lease as it is written
if KEYS[5] and read(KEYS[5]) ~= ARGV[4] then return false end
remove()
local at, before = take()
tell('d', before, at, at, 0)
trim()
return at
