-- Adds events that belong to no change; one that still waits is not added again. KEYS: outbox, told. ARGV: id and event of
-- each.
tell_once(KEYS[1], KEYS[2], 1)
return 'done'
