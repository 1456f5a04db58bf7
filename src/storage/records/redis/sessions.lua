-- Drops the records of sessions that are over. KEYS: of each, the tokens of its account, itself by its hash, by its id.
-- ARGV: the id of each.
for n, id in ipairs(ARGV) do
    redis.call('HDEL', KEYS[3 * n - 2], id)
    redis.call('DEL', KEYS[3 * n - 1], KEYS[3 * n])
end
return 'done'
