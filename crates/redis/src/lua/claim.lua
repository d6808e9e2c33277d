-- Takes deliveries over: those that are due to be tried again, and those whose member was silent for longer than its lease.
--
-- KEYS: the stream, the group's own key, its members, what waits to be tried again.
-- ARGV: the group, the member, how many it takes, the lease in milliseconds, where to look on for members that are silent or an empty
-- text, how long what others wait for is left to the member that put it back, and the places of those that this member put back.
-- Returns the server's time, when the next is due or -1, where to look on or an empty text, how much retention took from the group,
-- the deliveries as id, attempt and fields, and the places that will not come back to this member.

local stream, key, members, retry = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, member, room, lease, cursor, grace = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local PAGE = 200

-- Who has what waits to be tried again.
local WAITING = ':waiting'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A server that is full refuses to note that, and still hands over what is due.
redis.pcall('ZADD', members, now, member)

local function id_of(place)
  local ms, seq = string.match(place, '^0*(%d+)%-0*(%d+)$')
  return ms .. '-' .. seq
end

local function place_of(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq
end

local taken, elsewhere = {}, {}

-- Takes one that may be taken. False where there is nothing to take.
local function take(id, place)
  redis.call('ZREM', retry, place)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if not pending then return false end
  local entry = redis.call('XCLAIM', stream, group, member, 0, id)[1]
  if not entry or not entry[2] then
    -- Retention has removed it.
    redis.call('XACK', stream, group, id)
    redis.call('HINCRBY', key, 'lost', 1)
    return false
  end
  taken[#taken + 1] = {id, pending[4] + 1, entry[2]}
  return true
end

for at = 7, #ARGV do
  local due = redis.call('ZSCORE', retry, ARGV[at])
  if not due then
    -- What this member has by now, though the answer got lost, it asks for in another way.
    local id = id_of(ARGV[at])
    local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
    if not pending or pending[2] ~= member then elsewhere[#elsewhere + 1] = ARGV[at] end
  elseif tonumber(due) - grace <= now and not take(id_of(ARGV[at]), ARGV[at]) then
    elsewhere[#elsewhere + 1] = ARGV[at]
  end
end

if #taken < room then
  for _, place in ipairs(redis.call('ZRANGEBYSCORE', retry, '-inf', now, 'LIMIT', 0, room - #taken)) do
    take(id_of(place), place)
  end
end

local function number(info, name)
  for at = 1, #info, 2 do
    if info[at] == name then return info[at + 1] end
  end
end

-- Removes the records of members that are gone and have nothing pending.
local function bury_members()
  redis.call('ZREMRANGEBYSCORE', members, '-inf', now - math.max(lease, 5000))
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local name = number(info, 'name')
    if number(info, 'pending') == 0 and name ~= WAITING and not redis.call('ZSCORE', members, name) then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, name)
    end
  end
end

-- Notes where the group stands, should it be deleted: before the first that is not acknowledged.
local function note_floor()
  local floor = redis.call('XPENDING', stream, group)[2]
  if floor then
    local ms, seq = string.match(floor, '(%d+)%-(%d+)')
    if seq == '0' then
      floor = string.format('%.0f-18446744073709551615', tonumber(ms) - 1)
    else
      floor = ms .. '-' .. string.format('%.0f', tonumber(seq) - 1)
    end
  else
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      if number(info, 'name') == group then floor = number(info, 'last-delivered-id') end
    end
  end
  if floor and floor ~= redis.call('HGET', key, 'floor') then redis.pcall('HSET', key, 'floor', floor) end
end

note_floor()

-- Whether an entry was removed while a member that is there has it, which handles it to its end or counts it itself.
local function is_looked_after(pending)
  return redis.call('ZSCORE', members, pending[2]) and #redis.call('XRANGE', stream, pending[1], pending[1]) == 0
end

if cursor ~= '' and #taken < room then
  local page = redis.call('XPENDING', stream, group, cursor, '+', PAGE)
  local seen = 0
  for _, pending in ipairs(page) do
    if #taken >= room then break end
    seen = seen + 1
    cursor = '(' .. pending[1]
    -- What this member has itself it knows, or asks for in another way.
    if pending[3] >= lease and pending[2] ~= member then
      local place = place_of(pending[1])
      if not redis.call('ZSCORE', retry, place) and not is_looked_after(pending) then take(pending[1], place) end
    end
  end
  if seen == #page and #page < PAGE then
    cursor = ''
    bury_members()
  end
end

local next = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')[2]
return {now, next and math.floor(tonumber(next)) or -1, cursor, tonumber(redis.call('HGET', key, 'lost') or 0), taken, elsewhere}
