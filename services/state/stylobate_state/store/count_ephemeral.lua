-- Counts living objects of an ephemeral namespace, up to a bound.
--
-- KEYS     the set of owners with their keys, and what expires when
-- ARGV     the owner with the zero byte behind, or nothing for all; the bound
-- returns  how many there are

local call, min = redis.call, math.min
local head, most = ARGV[1], tonumber(ARGV[2])
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if head == '' then
  return min(most, call('ZCOUNT', KEYS[2], now_ms, '+inf'))
end
local low, high, count = '[' .. head, '(' .. string.sub(head, 1, -2) .. '\1', 0
while count < most do
  local members = call('ZRANGEBYLEX', KEYS[1], low, high, 'LIMIT', 0, 500)
  if #members == 0 then
    break
  end
  local scores = call('ZMSCORE', KEYS[2], unpack(members))
  for i = 1, #members do
    if scores[i] and tonumber(scores[i]) >= now_ms then
      count = count + 1
    end
  end
  low = '(' .. members[#members]
end
return min(most, count)
