-- Decides and charges one batch of rate-limit checks, in one step, on the server's own clock.
--
-- KEYS     the distinct keys of the batch, those of GCRA first. All carry one hash tag: a check is charged at all its levels or
--          at none. In a Cluster the first is none of them; it is a tag, and says which master.
-- ARGV[1]  msgpack: {how many keys are GCRA keys, groups, tags}; a group is {levels, costs or false, keys, refusals or false,
--          checks}; a level is {is_gcra, limit, period, interval, tolerance, cost, is_shadow, ban after or 0, ban within}, times
--          in whole microseconds; keys are for each level n numbers of keys, from 1; refusals too, none at a level that bans
--          nobody. In a Cluster only: tags, each {a key behind it that nobody writes, the numbers of its GCRA keys}; checks are
--          for each level which of the n are counted here, from 0, and keys and refusals are of these. A group has one at least.
-- ARGV[2]  and those after it, in a Cluster: the keys, where they are behind several tags; they have the numbers from 2 too.
-- returns  for each group three values: msgpack with the rows of its checks, how many of them are refused, and 1 where one has
--          flags, else 0. A row is 6 integers: 1 allowed or 0 refused, level (from 0), remaining, reset in ms, retry after in
--          ms, flags; of several levels then two for each of them: remaining, reset in ms, both 0 where it is not counted here.
--          Flags of level j (from 0): 4^j, a shadow would have refused; 2*4^j, its subject is to be banned. In a Cluster only
--          checks that have a count here have a row, and where all pass, the number of refused may be -1: then level by level
--          the two are told of each of its checks, and nothing else. After all groups the time, in microseconds.
--
-- Numbers go to commands as they are: those that are whole are written there with all of their digits, as tostring would not.
-- A GCRA key holds the theoretical arrival time; a window is a list of the times of its charges, oldest first; refusals are such
-- a list, or a text while their subject is banned: what is refused then counts no more.

local call, floor, ceil, min, max = redis.call, math.floor, math.ceil, math.min, math.max
local LONGEST_MS = 4294967295
local SOON_MS = 1000

local request = cmsgpack.unpack(ARGV[1])
local gcra_keys, groups = request[1], request[2]
local tags = request[3]
local keys = ARGV[2] and ARGV or KEYS   -- by number
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local ahead = {}     -- GCRA, by key index: how far the arrival time is ahead of now; what this batch charges included
local changed = {}   -- GCRA: the key indexes to be written, as a set
local count = {}     -- window, by key index: charges within the period, those of this batch included
local pending = {}   -- window: charges of this batch
local newest = {}
local oldest = {}
local periods = {}

if tags then
  for t = 1, #tags do   -- a tag that is not here, or not wholly, ends the script before anything is written
    local numbers, names = tags[t][2], {}
    for j = 1, #numbers do
      names[j] = keys[numbers[j]]
    end
    if #numbers > 0 then
      local found = call('MGET', unpack(names))
      for j = 1, #numbers do
        local stored = found[j]
        ahead[numbers[j]] = stored and max(stored - now, 0) or 0
      end
    elseif keys == ARGV then
      call('EXISTS', tags[t][1])
    end
  end
elseif gcra_keys > 0 then
  local found = call('MGET', unpack(keys, 1, gcra_keys))
  for i = 1, gcra_keys do
    local stored = found[i]
    ahead[i] = stored and max(stored - now, 0) or 0
  end
end

local function to_ms(us)
  return min(LONGEST_MS, ceil(us / 1000))
end

-- Drops what has left the window and remembers the rest. A clock that was put back must not lock anybody out: times that
-- lie ahead become now.
local function load_window(i, period)
  local key = keys[i]
  local last = tonumber(call('LINDEX', key, -1))
  if last and last > now then
    local times = call('LRANGE', key, 0, -1)
    for j = 1, #times do
      times[j] = min(tonumber(times[j]), now)
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
    return tonumber(call('LINDEX', keys[i], over - 1))
  end
  return now
end

-- Notes a refusal; tells whether that makes `after` of them within the time.
local function refused_often(key, after, within)
  if call('TYPE', key).ok == 'string' then
    return false
  end
  local known = call('RPUSH', key, now)
  if known > after then
    call('LPOP', key)
  end
  call('PEXPIRE', key, to_ms(within))
  return known >= after and now - tonumber(call('LINDEX', key, 0)) < within
end

-- Where all levels are GCRA: what a charge is, what charges may come to, what a unit is, and whether it is a shadow, by level.
local function charges_of(levels)
  local charges, tolerances, intervals, shadows = {}, {}, {}, {}
  for j = 1, #levels do
    local level = levels[j]
    if not level[1] then
      return
    end
    charges[j], tolerances[j], intervals[j], shadows[j] = level[6] * level[4], level[5], level[4], level[7]
  end
  return charges, tolerances, intervals, shadows
end

-- Decides a group of such levels whose checks cost one charge each, where all of them pass, as most do: what is told of them is what would be told by `decided`, in half
-- of its time. Returns their rows; or nothing, and has changed nothing, where one does not pass.
local function passed(levels, indexes)
  local width = #levels
  local charges, tolerances, intervals, shadows = charges_of(levels)
  if not charges then
    return
  end
  local answer, filled = {}, 0
  for check = 1, #indexes[1] do
    local row, tight, least, told_left, told_full = filled, 1, math.huge, nil, 0
    answer[row + 1], answer[row + 2], answer[row + 3], answer[row + 4], answer[row + 5], answer[row + 6] = 1, 0, 0, 0, 0, 0
    filled = row + 6
    for j = 1, width do
      local i, tolerance = indexes[j][check], tolerances[j]
      local us = ahead[i] + charges[j]
      if us > tolerance then
        for done = 1, check do
          for level = 1, done < check and width or j - 1 do
            local charged = indexes[level][done]
            ahead[charged] = ahead[charged] - charges[level]
          end
        end
        return
      end
      ahead[i] = us
      local units, ms = (tolerance - us) / intervals[j], (us + 999) / 1000
      units, ms = units - units % 1, ms - ms % 1
      if ms > LONGEST_MS then
        ms = LONGEST_MS
      end
      if not told_left or (units < least and not shadows[j]) then
        tight, told_left, told_full = j, units, ms
        least = shadows[j] and least or units
      end
      if width > 1 then
        answer[filled + 1], answer[filled + 2] = units, ms
        filled = filled + 2
      end
    end
    answer[row + 2], answer[row + 3], answer[row + 4] = tight - 1, told_left, told_full
  end
  for j = 1, width do
    local column = indexes[j]
    for check = 1, #column do
      changed[column[check]] = true
    end
  end
  return answer
end

-- The same in a Cluster, of the levels of checks that are counted here, level by level: all of them pass, so what one is charged
-- says nothing of another. Returns remaining and reset of each.
local function passed_here(levels, columns)
  local charges, tolerances, intervals = charges_of(levels)
  if not charges then
    return
  end
  local answer, filled = {}, 0
  for j = 1, #levels do
    local column, charge, tolerance, interval = columns[j], charges[j], tolerances[j], intervals[j]
    for at = 1, #column do
      local i = column[at]
      local us = ahead[i] + charge
      if us > tolerance then
        for level = 1, j do
          for done = 1, level < j and #columns[level] or at - 1 do
            local charged = columns[level][done]
            ahead[charged] = ahead[charged] - charges[level]
          end
        end
        return
      end
      ahead[i] = us
      local units, ms = (tolerance - us) / interval, (us + 999) / 1000
      if ms > LONGEST_MS then
        ms = LONGEST_MS
      end
      answer[filled + 1], answer[filled + 2] = units - units % 1, ms - ms % 1
      filled = filled + 2
    end
  end
  for j = 1, #levels do
    local column = columns[j]
    for at = 1, #column do
      changed[column[at]] = true
    end
  end
  return answer
end

-- Returns what is told of those checks of each level that are counted here by level and check.
local function spread(columns, checks)
  local wide = {}
  for j = 1, #columns do
    wide[j] = {}
    for at = 1, #columns[j] do
      wide[j][checks[j][at] + 1] = columns[j][at]
    end
  end
  return wide
end

-- Returns the checks that are counted here, in their order.
local function own_of(checks)
  local own, is_known = {}, {}
  for j = 1, #checks do
    for at = 1, #checks[j] do
      local check = checks[j][at] + 1
      if not is_known[check] then
        is_known[check] = true
        own[#own + 1] = check
      end
    end
  end
  table.sort(own)
  return own
end

local left, full = {}, {}   -- by level of the check at hand, once it is decided: what is left, and the time until it is full
local is_over = {}

-- Decides a group check by check, or some of its checks. Returns the rows, how many are refused, and
-- whether one has flags, as 1 or 0.
local function decided(levels, costs, indexes, refusals, own)
  local width = #levels
  local answer, filled, refusals_told, is_flagged = {}, 0, 0, 0
  for at = 1, own and #own or #indexes[1] do
    local check = own and own[at] or at
    local units = costs and costs[check] or 1
    local wait, refused, flags = 0, nil, 0

    for j = 1, width do
      local level, i = levels[j], indexes[j][check]
      local retry = 0
      if not i then
        -- counted elsewhere
      elseif level[1] then
        local interval, tolerance = level[4], level[5]
        -- Further ahead than this limit lets anyone be: another limit's charge, or a clock that was put back. Written back
        -- though nothing is charged, or whoever is refused would wait until the clock has caught up.
        if ahead[i] > tolerance then
          ahead[i] = tolerance
          changed[i] = true
        end
        retry = ahead[i] + units * level[6] * interval - tolerance
      else
        local limit, period = level[2], level[3]
        if not count[i] then
          load_window(i, period)
        end
        local over = count[i] + units * level[6] - limit
        if over > 0 then
          retry = leaves(i, over) + period - now
        end
      end
      is_over[j] = retry > 0
      if retry > wait and not level[7] then
        refused, wait = j, retry
      end
    end

    local tight, least = 1, math.huge
    for j = 1, width do
      local level, i = levels[j], indexes[j][check]
      local cost, is_charged = units * level[6], not refused and not is_over[j]
      if is_over[j] and level[7] and not refused then
        flags = flags + 4 ^ (j - 1)
      elseif is_over[j] and not level[7] and refusals and level[8] > 0 then
        if refused_often(keys[refusals[j][check]], level[8], level[9]) then
          flags = flags + 2 * 4 ^ (j - 1)
        end
      end
      if not i then
        left[j], full[j] = 0, 0
      elseif level[1] then
        if is_charged then
          ahead[i] = ahead[i] + cost * level[4]
          changed[i] = true
        end
        left[j], full[j] = floor((level[5] - ahead[i]) / level[4]), ahead[i]
      else
        if is_charged and cost > 0 then
          count[i] = count[i] + cost
          pending[i] = pending[i] + cost
          newest[i] = now
        end
        left[j], full[j] = max(0, level[2] - count[i]), newest[i] + level[3] - now
      end
      if i and left[j] < least and not level[7] then
        tight, least = j, left[j]
      end
    end

    local told = refused or tight
    answer[filled + 1] = refused and 0 or 1
    answer[filled + 2] = told - 1
    answer[filled + 3] = left[told]
    answer[filled + 4] = to_ms(full[told])
    answer[filled + 5] = refused and to_ms(wait) or 0
    answer[filled + 6] = flags
    filled = filled + 6
    if refused then
      refusals_told = refusals_told + 1
    end
    if flags > 0 then
      is_flagged = 1
    end
    if width > 1 then
      for j = 1, width do
        answer[filled + 1] = left[j]
        answer[filled + 2] = to_ms(full[j])
        filled = filled + 2
      end
    end
  end
  return answer, refusals_told, is_flagged
end

local answers = {}
for g = 1, #groups do
  local levels, costs, columns, refusals, checks = unpack(groups[g])
  local answer, refused, is_flagged = not costs and (tags and passed_here or passed)(levels, columns), tags and -1 or 0, 0
  if not answer then
    local own = nil
    if tags then
      columns, refusals, own = spread(columns, checks), refusals and spread(refusals, checks), own_of(checks)
    end
    answer, refused, is_flagged = decided(levels, costs, columns, refusals, own)
  end
  answers[3 * g - 2], answers[3 * g - 1], answers[3 * g] = cmsgpack.pack(answer), refused, is_flagged
end

-- Every write sets the expiry anew: until the limit is full again; where that is soon, for a second, all of them in one command.
local soon = {}
local function write_soon()
  local many = #soon / 2
  if many == 0 then
    return
  end
  soon[2 * many + 1], soon[2 * many + 2] = 'PX', SOON_MS
  local written = redis.pcall('MSETEX', many, unpack(soon))
  if type(written) == 'table' and written.err then   -- not known before Valkey 9.1 and Redis 8.4
    for j = 1, 2 * many, 2 do
      call('SET', soon[j], soon[j + 1], 'PX', SOON_MS)
    end
  end
  soon = {}
end

local function write(i)
  local us = ahead[i]
  if us > SOON_MS * 1000 then
    call('SET', keys[i], now + us, 'PX', to_ms(us))
  elseif us > 0 then
    local place = #soon
    soon[place + 1], soon[place + 2] = keys[i], now + us
    if place >= 2000 then   -- a call takes 8,000 values at most
      write_soon()
    end
  end
end

if tags then
  for t = 1, #tags do
    local numbers = tags[t][2]
    for j = 1, #numbers do
      if changed[numbers[j]] then
        write(numbers[j])
      end
    end
    write_soon()
  end
else
  for i in pairs(changed) do
    write(i)
  end
  write_soon()
end
for i, charges in pairs(pending) do
  if charges > 0 then
    local times = {}
    for j = 1, charges do
      times[j] = now
    end
    call('RPUSH', keys[i], unpack(times))
    call('PEXPIRE', keys[i], to_ms(periods[i]))
  end
end
answers[3 * #groups + 1] = now
return answers
