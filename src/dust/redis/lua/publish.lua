-- KEYS  2 the lock   5 the value   6 the verdict: the lock where there is none
-- ARGV  4 the lease as it is written   5 its token
--       6 the value's time in ms, or ''   7 its text
--       8 the tail of the name of the body beside it, or ''   9 the body   10 the time of all its bytes
--       11 the verdict's time in ms, or ''   12 its text
--       13… the names of bytes that are kept
-- Returns the number of the first that is written.
if read(KEYS[2]) ~= ARGV[4] then return false end

local has_value, has_verdict = KEYS[5] ~= KEYS[2], KEYS[6] ~= KEYS[2]
local first, before = take((has_value and 1 or 0) + (has_verdict and 1 or 0) + 1)
local at = first

-- Writes one of them, tells so, and goes on to the next number.
local function put(key, name, head, text, ms)
  write(key, head .. text, ms)
  tell('s', before, at, at, ms == '' and 0 or ms, name)
  keep(name, ms)
  before, at = at, digits(at + 1)
end

if has_value then
  local name, tail, head = sub(KEYS[5], #BEFORE + 1), ARGV[8], 'v' .. at .. ' '
  local bytes = sub(BEFORE, 1, -2) .. '='
  local old, new = beside(read(KEYS[5]), name), nil
  if tail ~= '' then
    new, head = bytes .. name .. '/' .. tail, 'b' .. at .. ' ' .. tail .. ' '
    -- It may have been told aside, for riders that have longer.
    call('SET', new, ARGV[9], 'PX', string.format('%.0f', math.max(call('PTTL', new), tonumber(ARGV[10]))))
  end
  for place = 13, #ARGV do
    local kept = bytes .. ARGV[place]
    -- Never shortened: readers may be at them.
    local left = call('PTTL', kept)
    if left >= 0 and left < tonumber(ARGV[10]) then call('PEXPIRE', kept, ARGV[10]) end
    -- What lay beside the earlier value lies beside this one.
    if kept == old and not new then
      new, head = old, 'b' .. at .. ' ' .. sub(old, #bytes + #name + 2) .. ' '
    end
  end
  if old and old ~= new then call('DEL', old) end
  put(KEYS[5], name, head, ARGV[7], ARGV[6])
end
if has_verdict then put(KEYS[6], sub(KEYS[6], #BEFORE + 1), 'v' .. at .. ' ', ARGV[12], ARGV[11]) end
remove()
tell('f', before, at, ARGV[5], 0, ARGV[3])
trim()
return first
