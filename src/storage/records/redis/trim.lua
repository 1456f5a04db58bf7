-- Drops the events up to a number. KEYS: outbox, told. ARGV: the number, the next one.
redis.call('XTRIM', KEYS[1], 'MINID', '0-' .. ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[1])
return 'done'
