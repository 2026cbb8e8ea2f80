-- ARGV  4 the time in ms, or ''   5 the text   6 the fence's lease as it is written
if KEYS[5] and read(KEYS[5]) ~= ARGV[6] then return false end
local body = beside(read(KEYS[2]), ARGV[3])
local at, before = take(1)
write(KEYS[2], 'v' .. at .. ' ' .. ARGV[5], ARGV[4])
if body then call('DEL', body) end
tell('s', before, at, at, ARGV[4] == '' and 0 or ARGV[4], ARGV[3])
keep(ARGV[3], ARGV[4])
trim()
return at
