-- Adds events that belong to no change; one that still waits is not added again. KEYS: outbox, told. ARGV: id and event of
-- each.
for n = 1, #ARGV, 2 do
    if not redis.call('ZSCORE', KEYS[2], ARGV[n]) then
        local entry = redis.call('XADD', KEYS[1], '0-*', 'e', ARGV[n + 1])
        redis.call('ZADD', KEYS[2], string.sub(entry, 3), ARGV[n])
    end
end
return 'done'
