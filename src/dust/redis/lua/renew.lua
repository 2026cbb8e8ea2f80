-- ARGV  4 the time in ms   5 the lease as it is written   6 its token
if read(KEYS[2]) ~= ARGV[5] then return 0 end
prolong(ARGV[6], ARGV[4])
trim()
return 1
