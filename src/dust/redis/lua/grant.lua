-- Sets the time of a holder's own lease anew.
local function prolong(token, ms)
  call('PEXPIRE', KEYS[2], ms)
  local at, before = take(1)
  tell('r', before, at, token, ms, ARGV[3])
  keep(ARGV[3], ms)
end

-- Gives the lease at the free key out.
local function grant(holder, ms)
  local at, before = take(1)
  call('SET', KEYS[2], 'l' .. at .. ' ' .. holder, 'PX', ms)
  tell('l', before, at, at, ms, ARGV[3])
  keep(ARGV[3], ms)
  return at
end

