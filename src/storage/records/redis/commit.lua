-- Applies a change of a transfer's core: slots, place in the index and events with it. Answers `applied`,
-- `conflict`, or `quota` with what is limited, the limit and what is used.
-- KEYS: record, slots, leases, their ends, due, purge, outbox, what the team uses, the list of its transfers, then the links that
-- it mints or drops, and what failed of those that it drops.
-- ARGV: id, operation, expected version ('' for none), team, owner, drops the record ('1'), slots ('keep', 'put', 'drop'
-- or 'destroy'), version, state, deadline, ended, second look, forget at, links, upload deadline, core, what it holds of its
-- team's quota (bytes, transfers, uploads) and what the team may hold ('' for no limit), number of slots, then owner and
-- bytes of each ('' for one that is dropped; 'drop' has no others), then the events.
local record, slots = KEYS[1], KEYS[2]
local id, operation, expected, team, owner, forget = unpack(ARGV, 1, 6)
local change, version, state, deadline = unpack(ARGV, 7, 10)
forget = forget == '1'
if freeing and is_live(state) and change ~= 'drop' then
    return redis.error_reply('ERR only ends are written here')
end

local now = time()
local old = redis.call('HMGET', record, 'version', 'team', 'ops', 'state', 'deadline', 'open', 'upload', 'held')
if old[1] then
    if holds(old[3], operation) then
        return 'applied'
    elseif old[1] ~= expected or old[2] ~= team then
        return 'conflict'
    end
elseif expected ~= '' then
    -- Sent again, or somebody else was first: gone is what was asked for.
    return forget and 'applied' or 'conflict'
end
if forget and tonumber(old[6] or 0) > 0 then
    return 'conflict'
end
if change == 'put' then
    -- Or a late write would bring expired keys back.
    local late = not is_live(state) or now >= tonumber(deadline)
    if late or old[1] and (now >= tonumber(old[5]) or redis.call('EXISTS', slots) == 0) then
        return 'conflict'
    end
end
local held, holds_now, limits, moves = numbers(old[8]), numbers(ARGV[17]), numbers(ARGV[18]), {}
for n, what in ipairs(quantities) do
    local more = holds_now[n] - (held[n] or 0)
    if more > 0 and limits[n] then
        local used = tonumber(redis.call('HGET', KEYS[8], what) or 0)
        if used + more > limits[n] then
            return string.format('quota %s %.0f %.0f', what, limits[n], math.max(used, 0))
        end
    end
    if more ~= 0 then
        moves[what] = more
    end
end

-- Nothing is refused from here on: a script is not rolled back.
local first = 20 + 2 * ARGV[19]
for what, more in pairs(moves) do
    redis.call('HINCRBY', KEYS[8], what, text(more))
end
if next(moves) then
    redis.call('HINCRBY', KEYS[8], 'moves', 1)
end
local was, is = is_live(old[4]), is_live(state) and not forget
if was ~= is then
    redis.call('HINCRBY', KEYS[8], 'live:' .. owner, is and 1 or -1)
end
if forget then
    redis.call('DEL', record, slots, KEYS[3], KEYS[4])
    for n = 10, #KEYS do
        redis.call('DEL', KEYS[n])
    end
    redis.call('ZREM', KEYS[9], id)
    redis.call('ZREM', KEYS[5], id)
    redis.call('ZREM', KEYS[6], id)
    tell(KEYS[7], first)
    return 'applied'
end
if not old[1] then
    redis.call('HSET', record, 'team', team, 'owner', owner)
end
if not old[8] then
    redis.call('ZADD', KEYS[9], 0, id)
end
redis.call('HSET', record, 'version', version, 'ops', with(old[3], operation), 'state', state, 'deadline', deadline,
    'ended', ARGV[11], 'look', ARGV[12], 'forget', ARGV[13], 'links', ARGV[14], 'core', ARGV[16], 'held', ARGV[17])
if change == 'put' or change == 'drop' then
    for n = 20, first - 1, 2 do
        if ARGV[n + 1] == '' then
            redis.call('HDEL', slots, ARGV[n])
        else
            redis.call('HSET', slots, ARGV[n], ARGV[n + 1])
        end
    end
    redis.call('PEXPIREAT', slots, deadline)
elseif change == 'destroy' then
    redis.call('DEL', slots)
end
for n = 10, #KEYS do
    redis.call('SET', KEYS[n], id)
end
if state == 'uploading' or state == 'ended' then
    local upload = tonumber(ARGV[15])
    if upload and upload > (tonumber(old[7]) or 0) then
        redis.call('HSET', record, 'upload', ARGV[15])
    end
elseif old[4] == 'uploading' or old[4] == 'ended' then
    drop_journal(record)
end
place(id, record, KEYS[5], KEYS[6])
tell(KEYS[7], first)
return 'applied'
