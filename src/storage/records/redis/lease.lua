-- Writes leases as they were decided, if what they were decided on still holds; else answers `again`, and nothing is
-- written. Decided here is only this: is the transfer open still, and may one more be taken.
-- KEYS: record, leases, their ends, due, purge, outbox.
-- ARGV: id, version, open until ('' where that is no matter), the most open leases, the most returns, number of fields,
-- number of leases, then each field as it was ('' for none) and is to be, then of each lease: id, field, link, what it
-- held before ('' for nothing) and holds after ('' for nothing any more), when it ends, the limit of its link; then the
-- events. A lease that was as it is only gets another end.
local record, leases, ends = KEYS[1], KEYS[2], KEYS[3]
local now = time()
local before = redis.call('HMGET', record, 'version', 'open')
if before[1] ~= ARGV[2] or (ARGV[3] ~= '' and now >= tonumber(ARGV[3])) then
    return 'again'
end
local first_lease = 8 + 3 * ARGV[6]
local first_event = first_lease + 7 * ARGV[7]
for n = 8, first_lease - 1, 3 do
    if (redis.call('HGET', leases, ARGV[n]) or '') ~= ARGV[n + 1] then
        return 'again'
    end
end
local open, links = tonumber(before[2] or 0), {}
for n = first_lease, first_event - 1, 7 do
    local _, _, link, from, to, _, limit = unpack(ARGV, n, n + 6)
    local counts = links[link]
    if not counts then
        local packed = redis.call('HGET', record, 'c:' .. link) or '0 0 0'
        local used, held, returned, last = string.match(packed, '(%d+) (%d+) (%d+) ?(%d*)')
        counts = { used = tonumber(used), held = tonumber(held), returned = tonumber(returned), last = last }
        links[link] = counts
    end
    if from == '' then
        if freeing then
            return redis.error_reply('ERR no lease is taken here')
        end
        if open >= tonumber(ARGV[4]) or (limit ~= '' and counts.used + counts.held >= tonumber(limit)) then
            return 'again'
        end
        open, counts.held, counts.last = open + 1, counts.held + 1, text(now)
    elseif from == 'held' and to == 'used' then
        counts.held, counts.used = counts.held - 1, counts.used + 1
    elseif from == 'held' and to == '' then
        counts.held = counts.held - 1
        if counts.returned < tonumber(ARGV[5]) then
            counts.returned = counts.returned + 1
        else
            counts.used = counts.used + 1
        end
    end
    if from ~= '' and to == '' then
        open = open - 1
    end
end

local moved = false
for n = 8, first_lease - 1, 3 do
    if ARGV[n + 2] ~= ARGV[n + 1] then
        moved = true
        if ARGV[n + 2] == '' then
            redis.call('HDEL', leases, ARGV[n])
        else
            redis.call('HSET', leases, ARGV[n], ARGV[n + 2])
        end
    end
end
for n = first_lease, first_event - 1, 7 do
    local lease, field, _, from, to, at = unpack(ARGV, n, n + 5)
    if to == '' then
        redis.call('HDEL', leases, lease)
        redis.call('ZREM', ends, lease)
    else
        if from == '' then
            redis.call('HSET', leases, lease, field)
        end
        redis.call('ZADD', ends, at, lease)
    end
end
for link, counts in pairs(links) do
    local packed = string.format('%.0f %.0f %.0f', counts.used, counts.held, counts.returned)
    -- Without a last use in a record of an earlier burnbag.
    redis.call('HSET', record, 'c:' .. link, counts.last == '' and packed or packed .. ' ' .. counts.last)
end
if moved then
    redis.call('HSET', record, 'open', text(open), 'changed', text(now))
end
local earliest = redis.call('ZRANGE', ends, 0, 0, 'WITHSCORES')
redis.call('HSET', record, 'next', earliest[2] or '')
place(ARGV[1], record, KEYS[4], KEYS[5])
tell(KEYS[6], first_event)
return 'done'
