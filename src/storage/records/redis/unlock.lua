-- Forgets what failed of a link, with the event that tells it; where nothing did, neither. Answers `done` or `missing`.
-- KEYS: the tries, the link, the record, outbox, told. ARGV: transfer, team, id of the event, the event.
if redis.call('GET', KEYS[2]) ~= ARGV[1] or redis.call('HGET', KEYS[3], 'team') ~= ARGV[2] then
    return 'missing'
end
if redis.call('DEL', KEYS[1]) == 1 then
    tell_once(KEYS[4], KEYS[5], 3)
end
return 'done'
