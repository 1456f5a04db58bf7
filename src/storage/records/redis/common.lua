-- Stands before every script. `freeing` is said by the loader: true where the script may run in a full Redis.
--
-- A number crosses only as an argument or by `text`: `..` keeps 14 digits, an argument keeps all up to 2^53.

local function text(number)
    return string.format('%.0f', number)
end

-- The store's clock, in milliseconds.
local function time()
    local now = redis.call('TIME')
    return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Whether this id is among those that stand one behind the other, 32 digits each.
local function holds(ids, id)
    for at = 1, #(ids or ''), 32 do
        if string.sub(ids, at, at + 31) == id then
            return true
        end
    end
    return false
end

-- With one id more; the last 8 are kept (`KEPT_OPERATIONS`).
local function with(ids, id)
    return string.sub((ids or '') .. id, -256)
end

local function is_live(state)
    return state == 'uploading' or state == 'held' or state == 'available'
end

-- What `transfer::lease::is_exhausted` says: every link that stands has a limit and has used it up, and no lease is open.
local function is_exhausted(record, links, open, changed)
    local standing = false
    if open > 0 then
        return false
    end
    for link, limit, ends in string.gmatch(links or '', '(%x+) (%S+) (%S+),') do
        if ends == '-' or changed < tonumber(ends) then
            local counts = limit ~= '-' and redis.call('HGET', record, 'c:' .. link)
            local used = counts and string.match(counts, '^%d+')
            if not used or tonumber(used) < tonumber(limit) then
                return false
            end
            standing = true
        end
    end
    return standing
end

-- The earliest deadline of a link of its own, or one that is later.
local function next_link(links, at)
    for ends in string.gmatch(links or '', '%x+ %S+ (%d+),') do
        at = math.min(at, tonumber(ends))
    end
    return at
end

-- When something must happen next to one that has ended; nothing, if it only waits for its leases.
local function after_end(state, ended, retry, look, forget, open)
    if state == 'ended' then
        return tonumber(retry) or tonumber(ended)
    end
    -- A tombstone waits for its leases, and these are in the index by themselves.
    return tonumber(look) or (open == 0 and tonumber(forget)) or nil
end

-- The earlier one, where there may be neither.
local function sooner(at, other)
    return (at and other) and math.min(at, other) or at or other
end

-- Numbers in a text, apart from each other.
local function numbers(text)
    local found = {}
    for number in string.gmatch(text or '', '%d+') do
        found[#found + 1] = tonumber(number)
    end
    return found
end

-- Takes the upload journal out of a record: it has nothing more to say.
local function drop_journal(record)
    for _, field in ipairs(redis.call('HKEYS', record)) do
        if string.sub(field, 1, 2) == 'j:' then
            redis.call('HDEL', record, field)
        end
    end
    redis.call('HDEL', record, 'upload', 'retry', 'attempts')
end

-- What a team uses, in the order of `Quantity::ALL`.
local quantities = { 'bytes', 'transfers', 'uploads' }

-- Puts a transfer where `transfer::due` says, in the index of its kind: `due` has what ends, `purge` what has ended.
local function place(id, record, due, purge)
    local f = redis.call('HMGET', record, 'state', 'deadline', 'upload', 'retry', 'ended', 'look', 'forget', 'open',
        'next', 'changed', 'links')
    local state, deadline, open, changed = f[1], tonumber(f[2]), tonumber(f[8] or 0), tonumber(f[10] or 0)
    local at
    if state == 'uploading' then
        at = math.min(tonumber(f[3]) or deadline, deadline)
    elseif state == 'available' and is_exhausted(record, f[11], open, changed) then
        at = changed
    elseif state == 'available' then
        at = next_link(f[11], deadline)
    elseif state == 'held' then
        at = deadline
    else
        at = after_end(state, f[5], f[4], f[6], f[7], open)
    end
    at = sooner(at, tonumber(f[9]))
    local mine, other = due, purge
    if not is_live(state) then
        mine, other = purge, due
    end
    if at then
        redis.call('ZADD', mine, text(at), id)
    else
        redis.call('ZREM', mine, id)
    end
    redis.call('ZREM', other, id)
end

-- Numbers the events from ARGV[first] on, dense from 1 and never used again.
local function tell(outbox, first)
    for n = first, #ARGV do
        redis.call('XADD', outbox, '0-*', 'e', ARGV[n])
    end
end

-- The same for events that belong to no change, each behind its id; one that still waits is not told again.
local function tell_once(outbox, told, first)
    for n = first, #ARGV, 2 do
        if not redis.call('ZSCORE', told, ARGV[n]) then
            local entry = redis.call('XADD', outbox, '0-*', 'e', ARGV[n + 1])
            redis.call('ZADD', told, string.sub(entry, 3), ARGV[n])
        end
    end
end
