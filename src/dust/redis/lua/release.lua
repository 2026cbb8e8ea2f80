-- ARGV  4 the token, or ''   5 the holder, used if there is no token
local token, holder = lease_in(read(KEYS[2]))
if not token then return 0 end
if ARGV[4] ~= '' and token ~= ARGV[4] then return 0 end
if ARGV[4] == '' and holder ~= ARGV[5] then return 0 end
remove()
local at, before = take(1)
tell('f', before, at, token, 0, ARGV[3])
trim()
return 1
