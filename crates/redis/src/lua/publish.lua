-- Stores events in a stream, each once within a window.
--
-- KEYS: the stream, then for each event its marker.
-- ARGV: the window in milliseconds, the fields and values of all events, and then for each event how many of these are its own.
-- Returns for each event 1 where it was stored, and 0 where it was there.

-- How many values a call takes, about.
local MOST = 7900

local stored = {}
local at, events = 2, #KEYS - 1
for event = 1, events do
  local count = tonumber(ARGV[#ARGV - events + event])
  -- Found out only when it is stored, it would leave a marker behind.
  if count > MOST then return redis.error_reply('ERR an entry of ' .. count / 2 .. ' fields is too large for a script') end
  if redis.call('SET', KEYS[event + 1], '', 'NX', 'PX', ARGV[1]) then
    local added = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, at, at + count - 1))
    if type(added) == 'table' and added.err then
      -- What is not stored must not be marked. What was before it is stored, and will be found to be.
      redis.call('DEL', KEYS[event + 1])
      return added
    end
    stored[event] = 1
  else
    stored[event] = 0
  end
  at = at + count
end
return stored
