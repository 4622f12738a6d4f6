-- Publishes, unless the key has an answer already, and keeps the answer: in one step, so that it is there if and only if it was published.
-- KEYS: the idempotency key. ARGV: the answer, the milliseconds it is kept, channel, payload. Returns 0 when the key is taken.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    return 0
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
