-- Writes what failed of a link or from an address as it was decided, if what it was decided on still holds; else answers
-- `again`, and nothing is written. KEYS: the tries, and of a link its key. ARGV: as they were, as they are to be ('' for
-- none), when they are forgotten ('' for never).
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
    return 'again'
elseif freeing and #ARGV[2] > #ARGV[1] then
    return redis.error_reply('ERR no try is taken here')
elseif KEYS[2] and redis.call('EXISTS', KEYS[2]) == 0 then
    return 'gone'
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
elseif ARGV[3] == '' then
    redis.call('SET', KEYS[1], ARGV[2])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
end
return 'done'
