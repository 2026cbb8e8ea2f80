-- Takes tokens of a bucket, as src/dust/bucket.rs does.
--   KEYS  1 the bucket: its parts, below zero for what was spent without it; when it had them; until when passes
--           get none
--   ARGV  1 the tokens of a period   2 the period in microseconds   3 the most tokens that it holds
--         4 tokens for fills   5 for passes   6 spent without it   7 how long fills go first
-- Returns how many were taken, and the microseconds until there is one again.
local tokens, period, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local fills, passes, spent, first = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local most = burst * period
local level, at, till = most, now, 0
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' then
  local parts, when, held = string.match(value, '^(-?%d+) (%d+) (%d+)$')
  if parts then level, at, till = tonumber(parts), tonumber(when), tonumber(held) end
end
-- No longer than it takes to fill up: all numbers stay exact.
local passed = math.min(math.max(now - at, 0), math.ceil(2 * most / tokens))
level = math.max(math.min(level + passed * tokens, most) - math.min(spent, burst) * period, -most)
-- No longer than any fill is waited for: the clock may have been set back.
local held = math.min(math.max(till - now, 0), math.ceil((most + period) / tokens) + first)
local there = math.max(level - level % period, 0) / period
local filled = math.min(fills, there)
local passing = held > 0 and 0 or math.min(passes, there - filled)
level = level - (filled + passing) * period
local wait = math.max(math.ceil((period - level) / tokens), 0)
if filled < fills then till = now + wait + first end
if passing < passes then wait = math.max(wait, held) end
-- One that is full need not be kept.
local full = math.ceil((most - level) / tokens / 1000) + 1000
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f', level, now, till), 'PX', string.format('%.0f', full))
return {filled + passing, wait}
