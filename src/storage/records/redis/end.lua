-- Ends transfers and goes on from their ends, many in one run: what `commit.lua` does for one, with what they share written once.
-- Each is whole or nothing by itself. Answers `applied` or `conflict` for each, in order, or what is wrong with its record.
-- KEYS: due, purge, outbox, then of each: record, slots, what its team uses.
-- ARGV: of each: id, operation, expected version, team, owner, version, state, ended, second look, forget at, core, what it holds of
-- its team's quota, whether its slots are destroyed ('1'), how many events, then these.
local dropped, ended, next_at, used = {}, {}, {}, {}
local function move(key, what, by)
    if by ~= 0 then
        local of = used[key] or {}
        used[key] = of
        of[what] = (of[what] or 0) + by
    end
end

local function apply(key, first)
    local id, operation, expected, team, owner, version, state = unpack(ARGV, first, first + 6)
    local record, slots, uses = unpack(KEYS, key, key + 2)
    local old = redis.pcall('HMGET', record, 'version', 'team', 'ops', 'state', 'open', 'upload', 'held', 'next', 'retry')
    if old.err then
        return old.err
    elseif is_live(state) then
        return 'ERR only ends are written here'
    elseif not old[1] then
        return 'conflict'
    elseif holds(old[3], operation) then
        return 'applied'
    elseif old[1] ~= expected or old[2] ~= team then
        return 'conflict'
    end

    -- Nothing is refused from here on: a script is not rolled back.
    local held, holds_now, moves = numbers(old[7]), numbers(ARGV[first + 11]), false
    for n, what in ipairs(quantities) do
        local more = holds_now[n] - (held[n] or 0)
        moves = moves or more ~= 0
        move(uses, what, more)
    end
    move(uses, 'moves', moves and 1 or 0)
    move(uses, 'live:' .. owner, is_live(old[4]) and -1 or 0)
    local at, look, forget = unpack(ARGV, first + 7, first + 9)
    -- Its deadline and its links are where they were, and matter no more.
    redis.call('HSET', record, 'version', version, 'ops', with(old[3], operation), 'state', state, 'ended', at, 'look', look,
        'forget', forget, 'core', ARGV[first + 10], 'held', ARGV[first + 11])
    local retry = old[9]
    if state ~= 'ended' and (old[6] or retry) then
        retry = nil
        drop_journal(record)
    end
    if ARGV[first + 12] == '1' then
        dropped[#dropped + 1] = slots
    end
    ended[#ended + 1] = id
    next_at[id] = sooner(after_end(state, at, retry, look, forget, tonumber(old[5] or 0)), tonumber(old[8])) or false
    for n = first + 14, first + 13 + ARGV[first + 13] do
        redis.call('XADD', KEYS[3], '0-*', 'e', ARGV[n])
    end
    return 'applied'
end

local answers, first = {}, 1
for key = 4, #KEYS, 3 do
    answers[#answers + 1] = apply(key, first)
    first = first + 14 + ARGV[first + 13]
end

-- What they share, written once.
local placed, waiting = {}, {}
for id, at in pairs(next_at) do
    if at then
        placed[#placed + 1] = text(at)
        placed[#placed + 1] = id
    else
        waiting[#waiting + 1] = id
    end
end
local function each(command, key, what)
    if what[1] then
        redis.call(command, key, unpack(what))
    end
end
each('ZREM', KEYS[1], ended)
each('ZREM', KEYS[2], waiting)
each('ZADD', KEYS[2], placed)
if dropped[1] then
    redis.call('DEL', unpack(dropped))
end
for key, of in pairs(used) do
    for what, by in pairs(of) do
        if by ~= 0 then
            redis.call('HINCRBY', key, what, text(by))
        end
    end
end
return answers
