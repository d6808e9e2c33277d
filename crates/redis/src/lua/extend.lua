-- Renews the leases of what a member has.
--
-- KEYS: the stream, the group's members. ARGV: the group, the member, then for each delivery its id and its attempt.
-- Returns the server's time, and which of the deliveries, counted from 1, the member has no more.

local stream, group, member = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {now}
-- A server that is full refuses to note that, and still renews leases.
redis.pcall('ZADD', KEYS[2], now, member)
for at = 3, #ARGV, 2 do
  local id = ARGV[at]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  local gone = #redis.call('XRANGE', stream, id, id) == 0
  local own = pending and pending[2] == member and pending[4] == tonumber(ARGV[at + 1])
  -- What retention has removed nobody else can get: it is handled to its end, and settled there. A claim would end its record.
  if own and not gone then
    redis.call('XCLAIM', stream, group, member, 0, id, 'JUSTID')
  elseif not own and not (gone and not pending) then
    answer[#answer + 1] = (at - 1) / 2
  end
end
return answer
