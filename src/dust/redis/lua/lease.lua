-- ARGV  4 the time in ms   5 the holder
local value = read(KEYS[2])
if not value then return {'granted', grant(ARGV[5], ARGV[4])} end
local token, holder = lease_in(value)
if not token or sane(token) == 0 then return {'occupied'} end
if holder ~= ARGV[5] then return {'held', token, redis.call('PTTL', KEYS[2]), holder} end
prolong(token, ARGV[4])
return {'granted', token}
