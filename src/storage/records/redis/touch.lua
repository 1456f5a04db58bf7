-- Writes to the upload journal, by the rules of `Journal::touch`. Answers `done`, `refused` or `missing`.
-- KEYS: record, due, purge. ARGV: id, team, file, epoch, its opener, the entry, the upload deadline.
local field = 'j:' .. ARGV[3]
local f = redis.call('HMGET', KEYS[1], 'team', 'state', 'upload', field)
if f[1] ~= ARGV[2] then
    return 'missing'
end
if f[2] ~= 'uploading' then
    return 'refused'
end
if f[4] then
    local epoch, opener = string.match(f[4], '^(%d+) (%x+)')
    local older = tonumber(ARGV[4]) < tonumber(epoch)
    if older or (ARGV[4] == epoch and ARGV[5] ~= opener) then
        return 'refused'
    end
end
redis.call('HSET', KEYS[1], field, ARGV[6])
if tonumber(ARGV[7]) > (tonumber(f[3]) or 0) then
    redis.call('HSET', KEYS[1], 'upload', ARGV[7])
end
place(ARGV[1], KEYS[1], KEYS[2], KEYS[3])
return 'done'
