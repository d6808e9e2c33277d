-- Removes what is older or more than is retained, and notes for each group how much of that it had not been given.
--
-- KEYS: the stream. ARGV: the most entries and the longest age in milliseconds, each 0 for any; what the keys of groups begin with.
-- Returns how many entries were removed.

local function number(info, name)
  for at = 1, #info, 2 do
    if info[at] == name then return info[at + 1] end
  end
end

-- Whether one id is above another.
local function above(a, b)
  local ams, aseq = string.match(a, '(%d+)%-(%d+)')
  local bms, bseq = string.match(b, '(%d+)%-(%d+)')
  ams, bms = tonumber(ams), tonumber(bms)
  if ams ~= bms then return ams > bms end
  return tonumber(aseq) > tonumber(bseq)
end

local stream, most, age = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if not first then return 0 end
first = first[1]

local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - age
local before = redis.call('XLEN', stream)
local aged = age > 0 and tonumber(string.match(first, '%d+')) < oldest
if not aged and (most == 0 or before <= most) then return 0 end

-- How many entries each group has passed, where it stands among those that may go now. Servers before 7.0 do not say.
local groups = redis.call('XINFO', 'GROUPS', stream)
local behind = {}
for _, group in ipairs(groups) do
  local last, read = number(group, 'last-delivered-id'), number(group, 'entries-read')
  local passed
  if above(first, last) then
    passed = 0
  elseif not read then
    passed, last = 0, last
    local from = '-'
    repeat
      local page = redis.call('XRANGE', stream, from, last, 'COUNT', 20)
      passed = passed + #page
      if #page > 0 then from = '(' .. page[#page][1] end
    until #page < 20 or passed >= 1000
  end
  behind[#behind + 1] = {name = number(group, 'name'), last = last, read = read, passed = passed}
end

if aged then redis.call('XTRIM', stream, 'MINID', '~', string.format('%.0f', oldest)) end
if most > 0 then redis.call('XTRIM', stream, 'MAXLEN', '~', most) end
local removed = before - redis.call('XLEN', stream)
if removed == 0 then return 0 end

local info = redis.call('XINFO', 'STREAM', stream)
local added, newest = number(info, 'entries-added'), number(info, 'last-generated-id')
local kept = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
for _, group in ipairs(behind) do
  local lost
  if not above(kept and kept[1] or newest, group.last) then
    -- It has been given more than was removed. The server's own count may say otherwise after a restart.
    lost = 0
  elseif group.passed then
    lost = group.passed >= 1000 and 0 or removed - group.passed
  else
    -- All that was ever removed, less what the group was given, but no more than was removed now.
    lost = math.min(removed, added - (before - removed) - group.read)
  end
  if lost > 0 then redis.call('HINCRBY', ARGV[3] .. group.name, 'lost', lost) end
end
return removed
