-- What is at a key, with the bytes beside it.
--   KEYS  1 the key
--   ARGV  1 what stands before the names of the bytes beside it, in their keys
-- Returns the entry, the ms left of a lease, the bytes.
local value = redis.pcall('GET', KEYS[1])
if value == false then return false end
if type(value) ~= 'string' then return {'', -1, false} end
local kind = string.byte(value)
if kind == 108 then return {value, redis.call('PTTL', KEYS[1]), false} end
local tail = kind == 98 and string.match(value, '^b%d+ (%S+) ')
local body = tail and redis.pcall('GET', ARGV[1] .. tail)
return {value, -1, type(body) == 'string' and body}
