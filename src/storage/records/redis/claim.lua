-- Claims what is due, earliest first, and puts it off. Answers the time, then the ids.
-- KEYS: due, purge. ARGV: 'all', 'live', 'these' or 'these live', how many, for how long, in milliseconds, then the ids.
local now, most = time(), tonumber(ARGV[2])
local later = text(now + ARGV[3])
local function look(index)
    return redis.call('ZRANGE', index, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
end
if ARGV[1] == 'these' or ARGV[1] == 'these live' then
    local indexes = ARGV[1] == 'these' and KEYS or { KEYS[1] }
    local answer = { now }
    for n = 4, #ARGV do
        for _, index in ipairs(indexes) do
            local at = redis.call('ZSCORE', index, ARGV[n])
            if at and tonumber(at) <= now then
                redis.call('ZADD', index, later, ARGV[n])
                answer[#answer + 1] = ARGV[n]
            end
        end
    end
    return answer
end
local live, ended = look(KEYS[1]), ARGV[1] == 'all' and look(KEYS[2]) or {}
local answer, l, e = { now }, 1, 1
while #answer <= most and (live[l] or ended[e]) do
    if live[l] and (not ended[e] or tonumber(live[l + 1]) <= tonumber(ended[e + 1])) then
        redis.call('ZADD', KEYS[1], later, live[l])
        answer[#answer + 1] = live[l]
        l = l + 2
    else
        redis.call('ZADD', KEYS[2], later, ended[e])
        answer[#answer + 1] = ended[e]
        e = e + 2
    end
end
return answer
