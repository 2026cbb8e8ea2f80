-- KEYS  2 the lock   5 the value   6 the verdict: the lock where there is none
-- ARGV  4 the lease as it is written   5 its token
--       6 the value's time in ms, or ''   7 its text
--       8 the tail of the name of the body beside it, or ''   9 the body   10 the time of all its bytes
--       11 the verdict's time in ms, or ''   12 its text
--       13… the names of bytes that are kept
-- Returns the number of the first that is written.
if read(KEYS[2]) ~= ARGV[4] then return false end

local function name_of(key)
  return string.sub(key, #BEFORE + 1)
end

local has_value, has_verdict = KEYS[5] ~= KEYS[2], KEYS[6] ~= KEYS[2]
local first, before = take((has_value and 1 or 0) + (has_verdict and 1 or 0) + 1)
local at = first

-- Writes one of them, tells so, and goes on to the next number.
local function put(key, kind, text, ms)
  local name = name_of(key)
  write(key, kind .. at .. ' ' .. text, ms)
  tell('s', before, at, at, ms == '' and 0 or ms, name)
  keep(name, ms)
  before, at = at, digits(at + 1)
end

if has_value then
  local name, tail = name_of(KEYS[5]), ARGV[8]
  local bytes = string.sub(BEFORE, 1, -2) .. '='
  local old = beside(read(KEYS[5]), name)
  if tail ~= '' then redis.call('SET', bytes .. name .. '/' .. tail, ARGV[9], 'PX', ARGV[10]) end
  for place = 13, #ARGV do
    local kept = bytes .. ARGV[place]
    -- What lay beside the earlier value lies beside this one.
    if kept == old and tail == '' then tail = string.sub(old, #bytes + #name + 2) end
    redis.call('PEXPIRE', kept, ARGV[10])
  end
  if old and old ~= bytes .. name .. '/' .. tail then redis.call('DEL', old) end
  if tail == '' then
    put(KEYS[5], 'v', ARGV[7], ARGV[6])
  else
    put(KEYS[5], 'b', tail .. ' ' .. ARGV[7], ARGV[6])
  end
end
if has_verdict then put(KEYS[6], 'v', ARGV[12], ARGV[11]) end
remove()
tell('f', before, at, ARGV[5], 0, ARGV[3])
trim()
return first
