-- ARGV  4 the time in ms
local at, before = take(1)
tell('s', before, at, at, ARGV[4], ARGV[3])
return at
