-- Returns objects of an ephemeral namespace by key, in the order of code points, and whether there may be more behind them.
--
-- KEYS[1]  the set of keys, or of owners with their keys
-- ARGV     what stands before a key in the name of its object; what stands before it in the set; the key to go on behind, or
--          nothing; keys to look at; objects to return; their bytes, of which the last object may be beyond
-- returns  {key to go on behind or false, key, object, key, object, ...}; what has expired is not among them
--
-- The names of objects are made here: they carry the hash tag of KEYS[1].

local call, find, sub = redis.call, string.find, string.sub
local prefix, head, after = ARGV[1], ARGV[2], ARGV[3]
local most, wanted, left = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local low = after ~= '' and '(' .. head .. after or head ~= '' and '[' .. head or '-'
local high = head ~= '' and '(' .. sub(head, 1, -2) .. '\1' or '+'
local members = call('ZRANGEBYLEX', KEYS[1], low, high, 'LIMIT', 0, most)
local found = {false}
local last = #members
for i = 1, #members do
  local key = sub(members[i], #head + 1)
  local object = call('GET', prefix .. key)
  if object then
    found[#found + 1] = key
    found[#found + 1] = object
    wanted, left = wanted - 1, left - #object
    if wanted == 0 or left < 0 then
      last = i
      break
    end
  end
end
if last > 0 and (last < #members or #members == most) then
  found[1] = sub(members[last], #head + 1)
end
return found
