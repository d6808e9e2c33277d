-- Deletes a group with everything that is kept for it, unless it has members.
--
-- KEYS: the stream, the group's own key, its members, what waits to be tried again.
-- ARGV: the group, and for how long a member counts that is not heard of, in milliseconds.
-- Returns 1 where there was one, 0 where there was none, and -1 where it has members.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZCOUNT', KEYS[3], now - tonumber(ARGV[2]), '+inf') > 0 then return -1 end
local deleted = 0
if redis.call('EXISTS', KEYS[1]) == 1 then deleted = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
return deleted
