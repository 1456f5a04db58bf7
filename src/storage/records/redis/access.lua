-- Applies a change of teams, accounts and tokens. Answers `applied` or `conflict`.
-- KEYS: outbox; accounts by name; teams by name; then of each team and account: the record, and the accounts of the team;
-- then of each token: by its hash, by its id, the tokens of its account.
-- ARGV: operation; number of teams, of accounts and of tokens; then of each team and account: expected version ('' for none),
-- its id, name ('' where it is removed), version and body; of each token: id, hash, body, account and team; then the events.
local teams, accounts = tonumber(ARGV[2]), tonumber(ARGV[3])
local records, tokens = teams + accounts, tonumber(ARGV[4])

-- The n-th record: its key, the accounts of its team, the names of its kind, and where its arguments begin.
local function part(n)
    return KEYS[2 + 2 * n], KEYS[3 + 2 * n], n <= teams and KEYS[3] or KEYS[2], 5 * n
end

local olds = {}
for n = 1, records do
    local key, _, names, at = part(n)
    local old = redis.call('HMGET', key, 'version', 'ops', 'name', 'body')
    if holds(old[2], ARGV[1]) then
        return 'applied'
    end
    -- A team that was made before teams had versions.
    olds[n] = { version = old[1] or (old[4] and '0') or '', ops = old[2], name = old[3] }
    local owner = ARGV[at + 2] ~= '' and redis.call('HGET', names, ARGV[at + 2])
    olds[n].taken = owner and owner ~= ARGV[at + 1]
end
for n = 1, records do
    local _, _, _, at = part(n)
    if olds[n].version ~= ARGV[at] or olds[n].taken then
        return 'conflict'
    end
end

for n = 1, records do
    local key, members, names, at = part(n)
    local id, name, old = ARGV[at + 1], ARGV[at + 2], olds[n]
    if old.name and old.name ~= name then
        redis.call('HDEL', names, old.name)
    end
    if name ~= '' then
        redis.call('HSET', names, name, id)
    end
    if n > teams then
        if name ~= '' then
            redis.call('SADD', members, id)
        else
            redis.call('SREM', members, id)
        end
    end
    redis.call('HSET', key, 'version', ARGV[at + 3], 'ops', with(old.ops, ARGV[1]), 'name', name, 'body', ARGV[at + 4])
end
for n = 1, tokens do
    local key, at = 1 + 2 * records + 3 * n, 5 * (records + n)
    redis.call('HSET', KEYS[key], 'body', ARGV[at + 2], 'account', ARGV[at + 3], 'team', ARGV[at + 4])
    redis.call('SET', KEYS[key + 1], ARGV[at + 1])
    redis.call('HSET', KEYS[key + 2], ARGV[at], ARGV[at + 1])
end
tell(KEYS[1], 5 * (records + tokens) + 5)
return 'applied'
