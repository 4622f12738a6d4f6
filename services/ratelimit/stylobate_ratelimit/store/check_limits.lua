-- Decides and charges one batch of rate-limit checks, in one step, on the server's own clock.
--
-- KEYS     the distinct keys of the batch. All carry one hash tag: a check is charged at all its levels or at none, so in a
--          cluster its keys must share a slot.
-- ARGV[1]  msgpack: {indexes of the GCRA keys, groups}; a group is {levels, costs or false, keys};
--          a level is {is_gcra, limit, period, interval, tolerance}, times in whole microseconds;
--          keys are n*k indexes into KEYS.
-- returns  n*5 integers for each group in turn: allowed, level (from 0), remaining, reset in ms, retry after in ms.
--
-- A GCRA key holds the theoretical arrival time; a window is a list of the times of its charges, oldest first.

local request = cmsgpack.unpack(ARGV[1])
local gcra_keys, groups = request[1], request[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local LONGEST_MS = 4294967295

local arrival = {}   -- GCRA, by key index: what is stored, then what this batch makes of it
local changed = {}
local count = {}     -- window, by key index: charges within the period, those of this batch included
local pending = {}   -- window: charges of this batch
local newest = {}
local oldest = {}
local periods = {}

if #gcra_keys > 0 then
  local names = {}
  for j, i in ipairs(gcra_keys) do
    names[j] = KEYS[i]
  end
  local found = redis.call('MGET', unpack(names))
  for j, i in ipairs(gcra_keys) do
    arrival[i] = tonumber(found[j]) or 0
  end
end

local function text(number)
  return string.format('%.0f', number)   -- tostring would lose digits
end

local function to_ms(us)
  return math.min(LONGEST_MS, math.ceil(us / 1000))
end

-- Drops what has left the window and remembers the rest. A clock that was put back must not lock anybody out: times that
-- lie ahead become now.
local function load_window(i, period)
  local key = KEYS[i]
  local last = tonumber(redis.call('LINDEX', key, -1))
  if last and last > now then
    local times = redis.call('LRANGE', key, 0, -1)
    for j = 1, #times do
      times[j] = text(math.min(tonumber(times[j]), now))
    end
    redis.call('DEL', key)
    redis.call('RPUSH', key, unpack(times))
    redis.call('PEXPIRE', key, to_ms(period))
    last = now
  end
  if last and last <= now - period then
    redis.call('DEL', key)
    last = nil
  end
  local first = last and tonumber(redis.call('LINDEX', key, 0))
  while first and first <= now - period do
    redis.call('LPOP', key)
    first = tonumber(redis.call('LINDEX', key, 0))
  end
  count[i] = first and redis.call('LLEN', key) or 0
  pending[i] = 0
  oldest[i] = first
  newest[i] = first and last or now - period
  periods[i] = period
end

-- When the charge stands that must leave before `over` more have room.
local function leaves(i, over)
  if over == 1 and oldest[i] then
    return oldest[i]
  end
  if over <= count[i] - pending[i] then
    return tonumber(redis.call('LINDEX', KEYS[i], over - 1))
  end
  return now
end

local answer = {}
local filled = 0
local after = {}

for _, group in ipairs(groups) do
  local levels, costs, indexes = group[1], group[2], group[3]
  local width = #levels
  for check = 0, #indexes / width - 1 do
    local cost = costs and costs[check + 1] or 1
    local base = check * width
    local refused, wait = nil, -1
    local tight, least, full = 1, math.huge, 0
    local kept, kept_full = 0, 0

    for j = 1, width do
      local level, i = levels[j], indexes[base + j]
      local limit, period = level[2], level[3]
      local over, retry, remaining, reset, unchanged, unchanged_reset
      if level[1] then
        local interval, tolerance = level[4], level[5]
        local before = math.min(math.max(arrival[i], now), now + tolerance)
        after[j] = before + cost * interval
        over = after[j] - now - tolerance
        retry = over
        remaining = math.floor((tolerance - (after[j] - now)) / interval)
        reset = after[j] - now
        unchanged = math.floor((tolerance - (before - now)) / interval)
        unchanged_reset = before - now
      else
        if not count[i] then
          load_window(i, period)
        end
        over = count[i] + cost - limit
        retry = over > 0 and leaves(i, over) + period - now or 0
        remaining = limit - count[i] - cost
        reset = (cost > 0 and now or newest[i]) + period - now
        unchanged = math.max(0, limit - count[i])
        unchanged_reset = newest[i] + period - now
      end
      if over > 0 then
        if retry > wait then
          refused, wait, kept, kept_full = j, retry, unchanged, unchanged_reset
        end
      elseif remaining < least then
        tight, least, full = j, remaining, reset
      end
    end

    if refused then
      answer[filled + 1] = 0
      answer[filled + 2] = refused - 1
      answer[filled + 3] = kept
      answer[filled + 4] = to_ms(kept_full)
      answer[filled + 5] = to_ms(wait)
    else
      for j = 1, width do
        local i = indexes[base + j]
        if levels[j][1] then
          arrival[i] = after[j]
          changed[i] = true
        elseif cost > 0 then
          count[i] = count[i] + cost
          pending[i] = pending[i] + cost
          newest[i] = now
        end
      end
      answer[filled + 1] = 1
      answer[filled + 2] = tight - 1
      answer[filled + 3] = least
      answer[filled + 4] = to_ms(full)
      answer[filled + 5] = 0
    end
    filled = filled + 5
  end
end

-- Every write sets the expiry anew: until the limit is full again.
for i in pairs(changed) do
  local ms = to_ms(arrival[i] - now)
  if ms > 0 then
    redis.call('SET', KEYS[i], text(arrival[i]), 'PX', ms)
  end
end
for i, charges in pairs(pending) do
  if charges > 0 then
    local times, stamp = {}, text(now)
    for j = 1, charges do
      times[j] = stamp
    end
    redis.call('RPUSH', KEYS[i], unpack(times))
    redis.call('PEXPIRE', KEYS[i], to_ms(periods[i]))
  end
end
return answer
