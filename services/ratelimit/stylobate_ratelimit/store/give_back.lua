-- Takes charges back that check_limits.lua made, for checks that were refused at a key of another slot.
--
-- KEYS     the distinct keys
-- ARGV[1]  the moment of the charges, in microseconds of this server's clock
-- ARGV[2]  msgpack: for each charge {index into KEYS, is_gcra, what to take back, time until full}; of a GCRA key that is time in
--          microseconds, of a window a number of charges; the time until full, in microseconds, was that after the charge
--
-- What time has taken back since is not taken back again: never is more given than the charge still costs, so nobody gets
-- through whom the limit, without that charge, would have refused. Of a GCRA key that is what is left of the time until full, and
-- at the least all but the time that has gone by: whichever is more.

local call, max, min, ceil = redis.call, math.max, math.min, math.ceil
local at = tonumber(ARGV[1])
local charges = cmsgpack.unpack(ARGV[2])
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

for i = 1, #charges do
  local key, is_gcra, amount, full = KEYS[charges[i][1]], charges[i][2], charges[i][3], charges[i][4]
  if is_gcra then
    local stored = tonumber(call('GET', key) or 0)
    local back = max(amount - max(now - at, 0), min(amount, at + full - now))
    if back > 0 and stored > now then
      local left = stored - now - back
      if left > 0 then
        call('SET', key, now + left, 'PX', max(1, ceil(left / 1000)))
      else
        call('DEL', key)
      end
    end
  else
    call('LREM', key, -amount, at)
  end
end
return #charges
