-- Stores a dead letter, once.
--
-- KEYS: the letters, the letter's marker. ARGV: how many letters are kept, for how long the marker is, then the fields and values.
-- Returns 1 where it was stored, 0 where it was there, and -1 where there is no room.

if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return -1 end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
return 1
