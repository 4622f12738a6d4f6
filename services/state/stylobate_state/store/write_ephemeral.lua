-- Compare and set, a batch at a time, for the objects of one ephemeral namespace of one tenant: one step, so nothing is half done.
-- All is decided before the first write: what fails, such as a full server, fails before anything happened.
--
-- KEYS     what is known of the namespace, its keys, its owners with their keys, what expires when; then the objects in the order
--          of the writes; then the idempotency keys. All carry one hash tag, so in a cluster a namespace of a tenant is one slot.
-- ARGV[1]  msgpack: {length of what stands before the key in the name of an object, time to live in ms, writes, claims}
--          a write: {expected (-1: any, 0: nothing alive), owner, status or false, data or false (it stays as it is), is it a
--          deletion, group or 0, claim or 0}
--          a claim: {request, time to live in ms}; it is taken for the group of its write
-- ARGV[2]  the run_id of this server, empty where it is not known: its sender learned it on this connection, and to ask for it here
--          (INFO) would take as long as a write does
-- returns  msgpack, for each write: {0, version, status, created, updated, first version}, or
--          {1, version that stood there} refused, {2} withheld with its group, {3} its idempotency key is taken
--
-- An object is msgpack: {version, status, owner, created, updated, first version, is it a tombstone, data}; times in microseconds.
-- A version rises by one. It begins with the time, above all there were: one from before an object expired never comes again.
-- After a start of the server, which may have lost the newest changes, every version goes on above that moment, likewise.

local call, floor, max, format, find, sub = redis.call, math.floor, math.max, string.format, string.find, string.sub
local pack, unpack_message = cmsgpack.pack, cmsgpack.unpack
local META, BY_KEY, BY_OWNER, DUE, OBJECTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], 4
local WRITTEN, REFUSED, WITHHELD, TAKEN = 0, 1, 2, 3
local SLACK_MS = 600000

local request = unpack_message(ARGV[1])
local cut, ttl, writes, claims = request[1], request[2], request[3], request[4]
local count = #writes
local CLAIMS = OBJECTS + count
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = floor(now / 1000)

local function text(number)
  return format('%.0f', number)   -- tostring would lose digits
end

-- Decide.
local names = {}
for i = 1, count do
  names[i] = KEYS[OBJECTS + i]
end
local stored = call('MGET', unpack(names))
local present, outcomes, claimed = {}, {}, {}
local first = 1
while first <= count do
  local group, last = writes[first][6], first
  while group > 0 and last < count and writes[last + 1][6] == group do
    last = last + 1
  end
  local claim = writes[first][7]
  local is_taken, is_refused = false, false
  if claim > 0 then
    local name = KEYS[CLAIMS + claim]
    is_taken = claimed[name] or call('EXISTS', name) == 1
    claimed[name] = true
  end
  for i = first, last do
    if is_taken then
      outcomes[i] = {TAKEN}
    else
      local write = writes[i]
      local object = stored[i] and unpack_message(stored[i])
      local live = object and not object[7]
      local expected = write[1]
      present[i] = object
      if expected == 0 and live or expected ~= 0 and not (
        live and object[3] == write[2] and (expected == -1 or expected == object[1])
      ) then
        outcomes[i], is_refused = {REFUSED, live and object[1] or 0}, true
      end
    end
  end
  for i = first, last do
    outcomes[i] = outcomes[i] or is_refused and {WITHHELD}
  end
  first = last + 1
end

-- Write.
local run = ARGV[2]
local meta = call('HMGET', META, 'run', 'base', 'top')
local base, top = tonumber(meta[2] or 0), tonumber(meta[3] or 0)
local is_known = run ~= '' and run == meta[1]
if not is_known then
  top = max(top, now)
  base = top
end
local top_was = top
local kept = {}                            -- by claim: the objects as they stand since
local due = {}
local some = false
for i = 1, count do
  if not outcomes[i] then
    local write, object = writes[i], present[i]
    local live = object and not object[7]
    local owner, is_deleted = write[2], write[5]
    local version = object and max(object[1], base) + 1 or max(now, top + 1)
    local status = write[3] or live and object[2] or ''
    local updated = object and max(now, object[5]) or now
    local created = live and object[4] or updated
    local first_version = live and object[6] or version
    local state = {version, status, owner, created, updated, first_version, is_deleted, write[4] or object[8]}
    local name = KEYS[OBJECTS + i]
    local key = sub(name, cut + 1)
    local member = owner .. '\0' .. key
    call('SET', name, pack(state), 'PX', ttl)
    if is_deleted then
      call('ZREM', BY_KEY, key)
      call('ZREM', BY_OWNER, member)
      call('ZREM', DUE, member)
    else
      due[#due + 1] = now_ms + ttl
      due[#due + 1] = member
      if not live then
        call('ZADD', BY_KEY, 0, key)
        call('ZADD', BY_OWNER, 0, member)
      end
    end
    outcomes[i] = {WRITTEN, version, status, created, updated, first_version}
    top, some = max(top, version), true
    kept[i] = {key, state}
  end
end

first = 1
while first <= count do
  local group, last = writes[first][6], first
  while group > 0 and last < count and writes[last + 1][6] == group do
    last = last + 1
  end
  local claim = writes[first][7]
  if claim > 0 and kept[first] then
    local states = {}
    for i = first, last do
      states[#states + 1] = kept[i]
    end
    call('SET', KEYS[CLAIMS + claim], pack({claims[claim][1], group > 0, states}), 'PX', claims[claim][2])
  end
  first = last + 1
end

if some then
  if #due > 0 then
    call('ZADD', DUE, unpack(due))
  end
  if not is_known or top > top_was then
    call('HSET', META, 'run', run, 'base', text(base), 'top', text(top))
  end
  -- Forget what has expired, more than what is new: the sets never hold much beyond what lives.
  local gone = call('ZRANGEBYSCORE', DUE, '-inf', '(' .. now_ms, 'LIMIT', 0, 2 * count + 8)
  for i = 1, #gone do
    local member = gone[i]
    local key = sub(member, find(member, '\0', 1, true) + 1)
    call('ZREM', DUE, member)
    call('ZREM', BY_OWNER, member)
    -- It may be another's by now. In a Cluster whose slot is being moved the answer may be an error: then it stays in the set.
    if redis.pcall('EXISTS', sub(KEYS[OBJECTS + 1], 1, cut) .. key) == 0 then
      call('ZREM', BY_KEY, key)
    end
  end
  for i = 2, OBJECTS do
    if call('PTTL', KEYS[i]) < ttl then    -- they outlive what they name, and no longer
      call('PEXPIRE', KEYS[i], ttl + SLACK_MS)
    end
  end
end
return pack(outcomes)
