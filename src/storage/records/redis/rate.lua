-- Takes requests from a limit: `transfer::rate::Meter::take`. A refusal writes nothing, and what is written is gone as soon as
-- nothing is owed. Answers how many are allowed, and what is owed after them. KEYS: meter. ARGV: requests a second, burst, how many
-- are wanted, how many are given back.
local now = time()
local rate, most, want, back = tonumber(ARGV[1]), ARGV[2] * 1000, tonumber(ARGV[3]), ARGV[4] * 1000
local kept = redis.call('GET', KEYS[1])
local owed = 0
if kept then
    local at, had = string.match(kept, '^(%d+) (%d+)$')
    owed = math.max(0, had - math.max(0, now - at) * rate - back)
end
local granted = math.min(want, math.floor(math.max(0, most - owed) / 1000))
owed = owed + granted * 1000
if granted > 0 then
    local lives = math.max(1, math.ceil(owed / rate))
    redis.call('SET', KEYS[1], text(now) .. ' ' .. text(owed), 'PX', text(lives))
end
return {granted, owed}
