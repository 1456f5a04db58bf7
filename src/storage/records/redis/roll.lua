-- Sets the numbers of events forward: they go on after one. Events with numbers up to that are dropped, and the given ones
-- added anew. KEYS: outbox, told. ARGV: the number, the next one, then id and event of each.
local last = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for n = 1, #info, 2 do
        if info[n] == 'last-generated-id' then
            last = tonumber(string.sub(info[n + 1], 3))
        end
    end
end
if last < tonumber(ARGV[1]) then
    redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '0-' .. ARGV[1], 'e', ''))
end
redis.call('XTRIM', KEYS[1], 'MINID', '0-' .. ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[1])
tell_once(KEYS[1], KEYS[2], 3)
return 'done'
