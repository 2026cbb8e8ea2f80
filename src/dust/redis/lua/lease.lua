-- ARGV  4 the time in ms   5 the holder
local value = read(KEYS[2])
if value then
  local token, holder = lease_in(value)
  if not token or sane(token) == 0 then return {'occupied'} end
  if holder ~= ARGV[5] then return {'held', token, redis.call('PTTL', KEYS[2]), holder} end
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  local at, before = take()
  tell('r', before, at, token, ARGV[4])
  keep(ARGV[4])
  return {'granted', token}
end
local at, before = take()
redis.call('SET', KEYS[2], 'l' .. at .. ' ' .. ARGV[5], 'PX', ARGV[4])
tell('l', before, at, at, ARGV[4])
keep(ARGV[4])
return {'granted', at}
