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

local call, floor, ceil, min, max, format = redis.call, math.floor, math.ceil, math.min, math.max, string.format
local LONGEST_MS = 4294967295

local request = cmsgpack.unpack(ARGV[1])
local gcra_keys, groups = request[1], request[2]
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local ahead = {}     -- GCRA, by key index: how far the arrival time is ahead of now; what this batch charges included
local changed = {}   -- GCRA: the key indexes to be written, as a set
local count = {}     -- window, by key index: charges within the period, those of this batch included
local pending = {}   -- window: charges of this batch
local newest = {}
local oldest = {}
local periods = {}

if #gcra_keys > 0 then
  local names = {}
  for j = 1, #gcra_keys do
    names[j] = KEYS[gcra_keys[j]]
  end
  local found = call('MGET', unpack(names))
  for j = 1, #gcra_keys do
    local stored = found[j]
    ahead[gcra_keys[j]] = stored and max(stored - now, 0) or 0
  end
end

local function text(number)
  return format('%.0f', number)   -- tostring would lose digits
end

local function to_ms(us)
  return min(LONGEST_MS, ceil(us / 1000))
end

-- Drops what has left the window and remembers the rest. A clock that was put back must not lock anybody out: times that
-- lie ahead become now.
local function load_window(i, period)
  local key = KEYS[i]
  local last = tonumber(call('LINDEX', key, -1))
  if last and last > now then
    local times = call('LRANGE', key, 0, -1)
    for j = 1, #times do
      times[j] = text(min(tonumber(times[j]), now))
    end
    call('DEL', key)
    call('RPUSH', key, unpack(times))
    call('PEXPIRE', key, to_ms(period))
    last = now
  end
  if last and last <= now - period then
    call('DEL', key)
    last = nil
  end
  local first = last and tonumber(call('LINDEX', key, 0))
  while first and first <= now - period do
    call('LPOP', key)
    first = tonumber(call('LINDEX', key, 0))
  end
  count[i] = first and call('LLEN', key) or 0
  pending[i] = 0
  oldest[i] = first
  newest[i] = first and last or now - period
  periods[i] = period
end

-- When the charge was made that must leave before `over` more have room.
local function leaves(i, over)
  if over == 1 and oldest[i] then
    return oldest[i]
  end
  if over <= count[i] - pending[i] then
    return tonumber(call('LINDEX', KEYS[i], over - 1))
  end
  return now
end

local answer = {}
local filled = 0
local after = {}     -- by level of the check at hand: `ahead` if charged

for g = 1, #groups do
  local levels, costs, indexes = groups[g][1], groups[g][2], groups[g][3]
  local width = #levels
  for check = 0, #indexes / width - 1 do
    local cost = costs and costs[check + 1] or 1
    local base = check * width
    local wait, refused, kept, kept_full = -math.huge, nil, 0, 0
    local least, tight, full = math.huge, 1, 0

    for j = 1, width do
      local level, i = levels[j], indexes[base + j]
      if level[1] then
        local interval, tolerance = level[4], level[5]
        -- Further ahead than this limit lets anyone be: another limit's charge, or a clock that was put back. Written back
        -- though nothing is charged, or whoever is refused would wait until the clock has caught up.
        if ahead[i] > tolerance then
          ahead[i] = tolerance
          changed[i] = true
        end
        local before = ahead[i]
        local then_ahead = before + cost * interval
        after[j] = then_ahead
        if then_ahead > tolerance then
          if then_ahead - tolerance > wait then
            refused, wait, kept, kept_full = j, then_ahead - tolerance, floor((tolerance - before) / interval), before
          end
        else
          local remaining = floor((tolerance - then_ahead) / interval)
          if remaining < least then
            tight, least, full = j, remaining, then_ahead
          end
        end
      else
        local limit, period = level[2], level[3]
        if not count[i] then
          load_window(i, period)
        end
        local remaining = limit - count[i] - cost
        if remaining < 0 then
          local retry = leaves(i, -remaining) + period - now
          if retry > wait then
            refused, wait, kept, kept_full = j, retry, max(0, limit - count[i]), newest[i] + period - now
          end
        elseif remaining < least then
          tight, least, full = j, remaining, cost > 0 and period or newest[i] + period - now
        end
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
          ahead[i] = after[j]
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
  local us = ahead[i]
  if us > 0 then
    call('SET', KEYS[i], text(now + us), 'PX', to_ms(us))
  end
end
for i, charges in pairs(pending) do
  if charges > 0 then
    local times, stamp = {}, text(now)
    for j = 1, charges do
      times[j] = stamp
    end
    call('RPUSH', KEYS[i], unpack(times))
    call('PEXPIRE', KEYS[i], to_ms(periods[i]))
  end
end
return answer
