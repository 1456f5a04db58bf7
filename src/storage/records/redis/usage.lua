-- Writes what a team uses, if nothing of it moved meanwhile. Answers 1, or 0 if it did.
-- KEYS: what the team uses. ARGV: moves, bytes, transfers, uploads.
if (redis.call('HGET', KEYS[1], 'moves') or '0') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'bytes', ARGV[2], 'transfers', ARGV[3], 'uploads', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'moves', 1)
return 1
