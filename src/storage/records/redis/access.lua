-- Applies a change of an account with its team and tokens. Answers `applied` or `conflict`.
-- KEYS: account, names, tokens of the account, team, outbox, then of each token: by its hash, by its id.
-- ARGV: operation, expected version ('' for none), account, name, version, body, team, its body ('' where it is none of
-- this change), number of tokens, then id, hash and body of each, then the events.
local old = redis.call('HMGET', KEYS[1], 'version', 'ops')
if holds(old[2], ARGV[1]) then
    return 'applied'
end
local taken = not old[1] and redis.call('HEXISTS', KEYS[2], ARGV[4]) == 1
if (old[1] or '') ~= ARGV[2] or taken then
    return 'conflict'
end

if ARGV[8] ~= '' then
    redis.call('HSET', KEYS[4], 'body', ARGV[8])
end
redis.call('HSET', KEYS[2], ARGV[4], ARGV[3])
redis.call('HSET', KEYS[1], 'version', ARGV[5], 'ops', with(old[2], ARGV[1]), 'body', ARGV[6])
local key, first = 6, 10 + 3 * ARGV[9]
for n = 10, first - 1, 3 do
    redis.call('HSET', KEYS[key], 'body', ARGV[n + 2], 'account', ARGV[3], 'team', ARGV[7])
    redis.call('SET', KEYS[key + 1], ARGV[n + 1])
    redis.call('HSET', KEYS[3], ARGV[n], ARGV[n + 1])
    key = key + 2
end
tell(KEYS[5], first)
return 'applied'
