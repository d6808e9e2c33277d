-- Acknowledges deliveries, puts them back to be tried again, and releases them. Nothing is done to what another member has by now.
--
-- KEYS: the stream, the group's own key, what waits to be tried again.
-- ARGV: the group, the member, until when it surely has what it acknowledges; then
-- how many runs to acknowledge, and for each its attempt, its length and its ids;
-- how many to put back, and for each its id, place, attempt, and delay in milliseconds;
-- how many to release, and for each its id, place and attempt.
-- Returns the server's time and how many were another's.

local stream, key, retry = KEYS[1], KEYS[2], KEYS[3]
local group, member, sure = ARGV[1], ARGV[2], tonumber(ARGV[3])
local WAITING = ':waiting'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at, lost = 4, 0

local function next()
  at = at + 1
  return ARGV[at - 1]
end

-- Whether this member has a delivery still, on this attempt.
local function has(id, attempt)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending and pending[2] == member and pending[4] == tonumber(attempt) then return true end
  lost = lost + 1
  return false
end

for _ = 1, tonumber(next()) do
  local attempt, count = next(), tonumber(next())
  if now < sure then
    -- In pieces, since there is a limit to how many values a call takes.
    for from = at, at + count - 1, 5000 do
      redis.call('XACK', stream, group, unpack(ARGV, from, math.min(from + 4999, at + count - 1)))
    end
  else
    for each = at, at + count - 1 do
      if has(ARGV[each], attempt) then redis.call('XACK', stream, group, ARGV[each]) end
    end
  end
  at = at + count
end

-- Gives a delivery to nobody until it is due.
local function wait(id, place, due, ...)
  if #redis.call('XCLAIM', stream, group, WAITING, 0, id, 'JUSTID', ...) > 0 then
    redis.call('ZADD', retry, due, place)
  else
    redis.call('XACK', stream, group, id)
    redis.call('HINCRBY', key, 'lost', 1)
  end
end

for _ = 1, tonumber(next()) do
  local id, place, attempt, delay = next(), next(), next(), tonumber(next())
  if has(id, attempt) then wait(id, place, now + delay) end
end

for _ = 1, tonumber(next()) do
  local id, place, attempt = next(), next(), next()
  if has(id, attempt) then wait(id, place, 0, 'RETRYCOUNT', attempt - 1) end
end

return {now, lost}
