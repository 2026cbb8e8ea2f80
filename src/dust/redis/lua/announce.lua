-- ARGV  4 the time in ms
local at, before = take()
tell('s', before, at, at, ARGV[4])
return at
