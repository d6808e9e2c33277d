-- How much a reader has before it.
--
-- KEYS: the stream. ARGV: the id up to which it has read, and how many entries there were ever up to there, or -1 where that is unknown.
-- Returns the last id ever given, how many entries follow, 1 where that is exact, how many entries there were ever or -1 where the server
-- does not say, and the id of the first that follows or an empty text.

local stream, position, passed = KEYS[1], ARGV[1], tonumber(ARGV[2])

local function number(info, name)
  for at = 1, #info, 2 do
    if info[at] == name then return info[at + 1] end
  end
end

if redis.call('EXISTS', stream) == 0 then return {'0-0', 0, 1, -1, ''} end
local info = redis.call('XINFO', 'STREAM', stream)
local last, added, length = number(info, 'last-generated-id'), number(info, 'entries-added') or -1, number(info, 'length')
local first = redis.call('XRANGE', stream, '(' .. position, '+', 'COUNT', 1)[1]
if not first then return {last, 0, 1, added, ''} end

local MOST = 100
if position == '0-0' then return {last, length, 1, added, first[1]} end
if added >= 0 and passed >= 0 and added - passed > MOST then return {last, math.min(added - passed, length), 0, added, first[1]} end
local follow = #redis.call('XRANGE', stream, '(' .. position, '+', 'COUNT', MOST + 1)
if follow <= MOST then return {last, follow, 1, added, first[1]} end
return {last, length, 0, added, first[1]}
