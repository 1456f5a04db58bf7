-- Claims what is due, earliest first, and puts it off. Answers the time, then the ids.
-- KEYS: due, purge. ARGV: 'all', 'live', 'these' or 'these live', how many, for how long, in milliseconds, then the ids.
local now, most = time(), tonumber(ARGV[2])
local later = text(now + ARGV[3])
-- What is claimed of each index, as `ZADD` takes it.
local taken = { {}, {} }
local function take(n, id)
    table.insert(taken[n], later)
    table.insert(taken[n], id)
end
local function put_off(answer)
    for n, scored in ipairs(taken) do
        if scored[1] then
            redis.call('ZADD', KEYS[n], unpack(scored))
        end
    end
    return answer
end
local function look(index)
    return redis.call('ZRANGE', index, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
end
if ARGV[1] == 'these' or ARGV[1] == 'these live' then
    local answer = { now }
    for n = 4, #ARGV do
        for index = 1, ARGV[1] == 'these' and 2 or 1 do
            local at = redis.call('ZSCORE', KEYS[index], ARGV[n])
            if at and tonumber(at) <= now then
                take(index, ARGV[n])
                answer[#answer + 1] = ARGV[n]
            end
        end
    end
    return put_off(answer)
end
local live, ended = look(KEYS[1]), ARGV[1] == 'all' and look(KEYS[2]) or {}
local answer, l, e = { now }, 1, 1
while #answer <= most and (live[l] or ended[e]) do
    if live[l] and (not ended[e] or tonumber(live[l + 1]) <= tonumber(ended[e + 1])) then
        take(1, live[l])
        answer[#answer + 1] = live[l]
        l = l + 2
    else
        take(2, ended[e])
        answer[#answer + 1] = ended[e]
        e = e + 2
    end
end
return put_off(answer)
