-- Gives a member again what it was given and did not get, since its connection was lost. That is no further attempt.
--
-- KEYS: the stream, the group's own key. ARGV: the group, the member, then the ids.
-- Returns the server's time, and the deliveries as id, attempt and fields.

local stream, key, group, member = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local given = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending and pending[2] == member then
    local entry = redis.call('XRANGE', stream, id, id)[1]
    if entry then
      redis.call('XCLAIM', stream, group, member, 0, id, 'JUSTID')
      given[#given + 1] = {id, pending[4], entry[2]}
    else
      -- Retention has removed it.
      redis.call('XACK', stream, group, id)
      redis.call('HINCRBY', key, 'lost', 1)
    end
  end
end
return {time[1] * 1000 + math.floor(time[2] / 1000), given}
