-- Makes a group, or joins the one that there is.
--
-- KEYS: the stream, the group's own key, its members.
-- ARGV: the group, its declaration, where it begins, the member, and 'again' where the group was there before.
-- Returns 'ok' and where the group begins, or an empty text where it was there; or 'conflict' and how the group is declared.

local stream, key = KEYS[1], KEYS[2]
local group, declaration, start, member, again = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == 'again'

local function number(info, name)
  for at = 1, #info, 2 do
    if info[at] == name then return info[at + 1] end
  end
end

local function above(a, b)
  local ams, aseq = string.match(a, '(%d+)%-(%d+)')
  local bms, bseq = string.match(b, '(%d+)%-(%d+)')
  ams, bms = tonumber(ams), tonumber(bms)
  if ams ~= bms then return ams > bms end
  return tonumber(aseq) > tonumber(bseq)
end

local exists, last = false, '0-0'
if redis.call('EXISTS', stream) == 1 then
  last = number(redis.call('XINFO', 'STREAM', stream), 'last-generated-id')
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if number(info, 'name') == group then exists = true end
  end
end

local declared = redis.call('HGET', key, 'declaration')
if exists and declared and declared ~= declaration then return {'conflict', declared} end

if not exists then
  if again then
    -- Where it stood, unless the stream is another: then all of that is new.
    local floor = redis.call('HGET', key, 'floor')
    if declared ~= declaration or not floor or above(floor, last) then floor = '0-0' end
    start = floor
  elseif start == '$' then
    start = last
  end
  redis.call('XGROUP', 'CREATE', stream, group, start, 'MKSTREAM')
  redis.call('HSET', key, 'declaration', declaration, 'floor', start)
else
  start = ''
  if not declared then redis.call('HSET', key, 'declaration', declaration) end
end

local time = redis.call('TIME')
redis.call('XGROUP', 'CREATECONSUMER', stream, group, member)
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), member)
return {'ok', start}
