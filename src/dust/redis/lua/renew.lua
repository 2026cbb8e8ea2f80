-- ARGV  4 the time in ms   5 the lease as it is written   6 its token
if read(KEYS[2]) ~= ARGV[5] then return 0 end
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local at, before = take()
tell('r', before, at, ARGV[6], ARGV[4])
keep(ARGV[4])
return 1
