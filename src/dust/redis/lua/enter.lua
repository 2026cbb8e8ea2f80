-- KEYS  2 the lock   5 the value   6 the verdict
-- ARGV  4 the lease's time in ms, or '' to read only   5 the holder
--       6, 7 the numbers of value and verdict that the caller knows
-- Returns value, verdict, body, the lock's state, its token, the ms left, its holder.
local value, verdict, lock = read(KEYS[5]), read(KEYS[6]), read(KEYS[2])

-- Whether it is text that the caller has not seen.
local function is_new(text, known)
  local number = text and string.match(text, '^[vb](%d+) ')
  return number ~= nil and number ~= known and sane(number) ~= 0
end

local news = is_new(value, ARGV[6])
local body = news and beside(value, sub(KEYS[5], #BEFORE + 1))
body = body and redis.pcall('GET', body)

local function answer(state, token, left, holder)
  return {value or false, verdict or false, type(body) == 'string' and body, state, token, left, holder}
end

-- Names that have expired are taken out by the publication, which adds no more than it takes out.
local takes = ARGV[4] ~= '' and not news and not is_new(verdict, ARGV[7])
if not lock then
  return takes and answer('granted', grant(ARGV[5], ARGV[4])) or answer('free')
end
local token, holder = lease_in(lock)
if not token or sane(token) == 0 then return answer('occupied') end
if takes and holder == ARGV[5] then
  prolong(token, ARGV[4])
  return answer('granted', token)
end
return answer('held', token, call('PTTL', KEYS[2]), holder)
