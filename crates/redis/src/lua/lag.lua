-- How much a group has before it.
--
-- KEYS: the stream, the group's own key, its members, what waits to be tried again.
-- ARGV: the group, and for how long a member counts that is not heard of, in milliseconds.
-- Returns how many entries the group was not given, how many are not settled, how many of these wait to be tried again, how old the
-- oldest of all of them is in milliseconds or -1, how many members there are, and how much retention took.

local stream, key, members, retry = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group = ARGV[1]

local function number(info, name)
  for at = 1, #info, 2 do
    if info[at] == name then return info[at + 1] end
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local info
if redis.call('EXISTS', stream) == 1 then
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if number(each, 'name') == group then info = each end
  end
end
if not info then return redis.error_reply('NOGROUP there is no group of this name') end

local last, length = number(info, 'last-delivered-id'), redis.call('XLEN', stream)
local first = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1]

-- Counts what follows, unless that is too much to look at.
local MOST, MOST_BYTES, PAGE = 100, 1024 * 1024, 10
local function count()
  local found, bytes, from = 0, 0, '(' .. last
  repeat
    local page = redis.call('XRANGE', stream, from, '+', 'COUNT', PAGE)
    for _, entry in ipairs(page) do
      found, from = found + 1, '(' .. entry[1]
      for _, text in ipairs(entry[2]) do bytes = bytes + #text end
    end
    if #page < PAGE then return found end
  until found > MOST or bytes > MOST_BYTES
end

-- The server's own count is right as a rule, but not after entries were removed, nor after it was restarted.
local undelivered = 0
if first then
  local said = number(info, 'lag')
  undelivered = count() or type(said) == 'number' and math.min(said, length) or length
end

local pending = redis.call('XPENDING', stream, group)
local oldest = pending[2] or (first and first[1])
local age = oldest and math.max(now - tonumber(string.match(oldest, '%d+')), 0) or -1
return {
  undelivered, pending[1], redis.call('ZCARD', retry), age, redis.call('ZCOUNT', members, now - tonumber(ARGV[2]), '+inf'),
  tonumber(redis.call('HGET', key, 'lost') or 0),
}
