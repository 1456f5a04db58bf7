-- Reads a record with one slot, at one time. KEYS: record, slots. ARGV: whose slot.
local now = time()
local deadline = tonumber(redis.call('HGET', KEYS[1], 'deadline'))
local slot = deadline and now < deadline and redis.call('HGET', KEYS[2], ARGV[1])
return { now, redis.call('HGETALL', KEYS[1]), slot }
