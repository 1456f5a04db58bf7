-- Reads a record with some of its leases, at one time. A holder's leases stand packed in one field, `link/holder`; the
-- field of a lease's id names that field.
-- KEYS: record, leases, their ends. ARGV: 'held' and the field, or 'one' and the lease, or 'due' and how many.
-- Answers the time, the record, the ids of what is due, then field and leases of each holder.
local now, what = time(), ARGV[1]
local due, fields = {}, {}
if what == 'held' then
    fields = { ARGV[2] }
elseif what == 'one' then
    fields = { redis.call('HGET', KEYS[2], ARGV[2]) or nil }
else
    local seen = {}
    due = redis.call('ZRANGE', KEYS[3], '-inf', text(now), 'BYSCORE', 'LIMIT', 0, ARGV[2])
    for _, lease in ipairs(due) do
        local field = redis.call('HGET', KEYS[2], lease)
        if field and not seen[field] then
            seen[field] = true
            fields[#fields + 1] = field
        end
    end
end
local answer = { now, redis.call('HGETALL', KEYS[1]), due }
for _, field in ipairs(fields) do
    answer[#answer + 1] = field
    answer[#answer + 1] = redis.call('HGET', KEYS[2], field) or ''
end
return answer
