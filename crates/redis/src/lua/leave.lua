-- Ends a member: what it has not settled goes back as if it had not been fetched, and its record goes.
--
-- KEYS: the stream, the group's own key, its members, what waits to be tried again. ARGV: the group, the member.
-- Returns how many went back. Where that is the most that one call takes, there may be more.

local stream, key, members, retry = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, member = ARGV[1], ARGV[2]
local WAITING, PAGE = ':waiting', 1000

local page = redis.call('XPENDING', stream, group, '-', '+', PAGE, member)
for _, pending in ipairs(page) do
  local id = pending[1]
  if #redis.call('XCLAIM', stream, group, WAITING, 0, id, 'RETRYCOUNT', math.max(pending[4] - 1, 0), 'JUSTID') > 0 then
    local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
    redis.call('ZADD', retry, 0, string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq)
  else
    redis.call('XACK', stream, group, id)
    redis.call('HINCRBY', key, 'lost', 1)
  end
end
if #page < PAGE then
  redis.call('ZREM', members, member)
  redis.call('XGROUP', 'DELCONSUMER', stream, group, member)
end
return #page
