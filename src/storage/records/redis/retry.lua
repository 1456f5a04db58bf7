-- Puts a purge off. Answers `done` or `missing`. KEYS: record, due, purge. ARGV: id, team, when.
local f = redis.call('HMGET', KEYS[1], 'team', 'state')
if f[1] ~= ARGV[2] then
    return 'missing'
end
if f[2] == 'ended' then
    redis.call('HSET', KEYS[1], 'retry', ARGV[3])
    redis.call('HINCRBY', KEYS[1], 'attempts', 1)
    place(ARGV[1], KEYS[1], KEYS[2], KEYS[3])
end
return 'done'
