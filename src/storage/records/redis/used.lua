-- Notes that a token was used; the last use only moves on. KEYS: token. ARGV: when.
local f = redis.call('HMGET', KEYS[1], 'body', 'used')
if f[1] and (not f[2] or tonumber(f[2]) < tonumber(ARGV[1])) then
    redis.call('HSET', KEYS[1], 'used', ARGV[1])
end
return 'done'
