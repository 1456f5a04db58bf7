-- Writes a value of the store's own where there is none, and answers what is there after that. KEYS: meta. ARGV: name,
-- value.
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
return redis.call('HGET', KEYS[1], ARGV[1])
