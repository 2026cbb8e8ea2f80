-- ARGV  4 the time in ms   5 the holder
local value = read(KEYS[2])
local token, holder = lease_in(value)
if value and (not token or sane(token) == 0) then return {'occupied'} end
if value and holder ~= ARGV[5] then return {'held', token, call('PTTL', KEYS[2]), holder} end
if value then prolong(token, ARGV[4]) else token = grant(ARGV[5], ARGV[4]) end
trim()
return {'granted', token}
