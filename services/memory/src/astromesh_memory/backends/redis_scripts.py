"""What Redis does at once: scripts in Lua, each atomic (https://redis.io/docs/latest/develop/programmability/eval-intro).

Positions and times are lower-case hex, so that texts compare as they do; a place is a position, `:` and an event index.
Below one prefix, which is one hash tag and thus one slot of a cluster:

agents            hash    namespace/agent ▸ position
s:{ns}:{session}  hash    agent, id, first, last; n:{user}: turns of a person; f:{user} and u:{user}: the position and
                          the time up to which theirs are forgotten (all, where {user} is empty);
                          sp, st, sr, sx: the summary's place, time, last run, text
t:{ns}:{session}  zset    places of turns, by name
v:{ns}:{session}  hash    place ▸ time, user and run with their lengths, and the stored bytes
a:{ns}:{agent}    zset    last time, `:` and session, of sessions with turns, by name
k:{ns}:{agent}    set     sessions of whom anything is kept
p:{ns}:{user}     set     agent/session in which a turn of the person is
"""

from __future__ import annotations

from typing import Final

_COMMON: Final = r"""
local prefix = KEYS[1]
local agents = prefix .. 'agents'
local function names(ns, session)
    return prefix .. 's:' .. ns .. ':' .. session, prefix .. 't:' .. ns .. ':' .. session,
        prefix .. 'v:' .. ns .. ':' .. session
end
local function fetch(values, places)
    local found = {}
    for i = 1, #places, 1000 do
        for _, value in ipairs(redis.call('HMGET', values, unpack(places, i, math.min(i + 999, #places)))) do
            found[#found + 1] = value
        end
    end
    return found
end
local function whose(value)
    local length = tonumber(string.sub(value, 17, 18), 16)
    return string.sub(value, 19, 18 + length)
end
local function unlist(ns, agent, session, last)
    if last then redis.call('ZREM', prefix .. 'a:' .. ns .. ':' .. agent, last .. ':' .. session) end
end
local function relist(ns, agent, session)
    local about, turns, values = names(ns, session)
    unlist(ns, agent, session, redis.call('HGET', about, 'last'))
    local first, last = nil, nil
    for _, value in ipairs(redis.call('HVALS', values)) do
        local time = string.sub(value, 1, 16)
        if not first or time < first then first = time end
        if not last or time > last then last = time end
    end
    if last then
        redis.call('HSET', about, 'first', first, 'last', last)
        redis.call('ZADD', prefix .. 'a:' .. ns .. ':' .. agent, 0, last .. ':' .. session)
    else
        redis.call('HDEL', about, 'first', 'last', 'id')
    end
end
"""

APPLY: Final = (
    _COMMON
    + r"""
local function forgot(about, user, position, time)
    local told = redis.call('HMGET', about, 'f:' .. user, 'u:' .. user)
    return (told[1] and told[1] >= position) or (told[2] and told[2] >= time)
end
local function forgot_any(about, position, time)
    local told = redis.call('HGETALL', about)
    for i = 1, #told, 2 do
        local kind = string.sub(told[i], 1, 2)
        if (kind == 'f:' and told[i + 1] >= position) or (kind == 'u:' and told[i + 1] >= time) then return true end
    end
    return false
end
local function raise(about, field, value)
    local known = redis.call('HGET', about, field)
    if not known or known < value then redis.call('HSET', about, field, value) end
end
local function remember(ns, agent, session, position, place, time, user, id, value)
    local about, turns, values = names(ns, session)
    if forgot(about, '', position, time) or (user ~= '' and forgot(about, user, position, time)) then return end
    if redis.call('ZADD', turns, 'NX', 0, place) == 0 then return end
    redis.call('HSET', values, place, value)
    redis.call('SADD', prefix .. 'k:' .. ns .. ':' .. agent, session)
    local told = redis.call('HMGET', about, 'first', 'last', 'id')
    if not told[1] or time < told[1] then redis.call('HSET', about, 'first', time) end
    if not told[2] or time > told[2] then
        unlist(ns, agent, session, told[2])
        redis.call('HSET', about, 'last', time)
        redis.call('ZADD', prefix .. 'a:' .. ns .. ':' .. agent, 0, time .. ':' .. session)
    end
    redis.call('HSET', about, 'agent', agent)
    if not told[3] or id > told[3] then redis.call('HSET', about, 'id', id) end
    if user ~= '' and redis.call('HINCRBY', about, 'n:' .. user, 1) == 1 then
        redis.call('SADD', prefix .. 'p:' .. ns .. ':' .. user, agent .. '/' .. session)
    end
end
local function summarise(ns, agent, session, position, place, time, through, text)
    local about = names(ns, session)
    if forgot_any(about, position, time) then return end
    local known = redis.call('HGET', about, 'sp')
    if known and known >= place then return end
    redis.call('HSET', about, 'agent', agent, 'sp', place, 'st', time, 'sr', through, 'sx', text)
    redis.call('SADD', prefix .. 'k:' .. ns .. ':' .. agent, session)
end
local function forget(ns, agent, session, position, until_time, user)
    local about, turns, values = names(ns, session)
    redis.call('HSET', about, 'agent', agent)
    redis.call('SADD', prefix .. 'k:' .. ns .. ':' .. agent, session)
    raise(about, 'f:' .. user, position)
    raise(about, 'u:' .. user, until_time)
    local summary = redis.call('HMGET', about, 'sp', 'st')
    if summary[1] and (string.sub(summary[1], 1, -10) <= position or summary[2] <= until_time) then
        redis.call('HDEL', about, 'sp', 'st', 'sr', 'sx')
    end
    local dropped = false
    local stored = redis.call('HGETALL', values)
    for i = 1, #stored, 2 do
        local place, value = stored[i], stored[i + 1]
        local owner = whose(value)
        local covered = string.sub(place, 1, -10) <= position or string.sub(value, 1, 16) <= until_time
        if covered and (user == '' or user == owner) then
            dropped = true
            redis.call('ZREM', turns, place)
            redis.call('HDEL', values, place)
            if owner ~= '' and redis.call('HINCRBY', about, 'n:' .. owner, -1) <= 0 then
                redis.call('HDEL', about, 'n:' .. owner)
                redis.call('SREM', prefix .. 'p:' .. ns .. ':' .. owner, agent .. '/' .. session)
            end
        end
    end
    if dropped then relist(ns, agent, session) end
end
local apply = {R = remember, S = summarise, F = forget}
local lengths = {R = 9, S = 8, F = 6}
local at, lacking = 2, {}
while at <= #ARGV do
    local kind = ARGV[at - 1]
    if kind == 'A' then
        local agent, after, upto = ARGV[at], ARGV[at + 1], ARGV[at + 2]
        local position = redis.call('HGET', agents, agent)
        if not position or position < after then
            lacking[#lacking + 1] = agent
        elseif position < upto then
            redis.call('HSET', agents, agent, upto)
        end
        at = at + 4
    else
        local values = {}
        for i = 1, lengths[kind] do values[i] = ARGV[at + i - 1] end
        if redis.call('HEXISTS', agents, values[1] .. '/' .. values[2]) == 1 then apply[kind](unpack(values)) end
        at = at + lengths[kind] + 1
    end
end
return lacking
"""
)
"""Changes and advances, each behind a letter of its kind. Returns the agents who lack something."""

LAST: Final = (
    _COMMON
    + r"""
local about, turns, values = names(ARGV[1], ARGV[3])
local places = redis.call('ZREVRANGEBYLEX', turns, '+', '-', 'LIMIT', 0, ARGV[4])
local position = redis.call('HGET', agents, ARGV[1] .. '/' .. ARGV[2])
return {position, redis.call('HMGET', about, 'st', 'sr', 'sx'), places, fetch(values, places)}
"""
)
"""Namespace, agent, session, most. Returns the position, the summary, places and turns, the newest first."""

PAGE: Final = (
    _COMMON
    + r"""
local about, turns, values = names(ARGV[1], ARGV[2])
local from = '-'
if ARGV[3] ~= '' then from = '(' .. ARGV[3] end
local places = redis.call('ZRANGEBYLEX', turns, from, '+', 'LIMIT', 0, ARGV[4])
return {places, fetch(values, places)}
"""
)
"""Namespace, session, place, most."""

SESSIONS: Final = (
    _COMMON
    + r"""
local listed = prefix .. 'a:' .. ARGV[1] .. ':' .. ARGV[2]
local names_of
if ARGV[3] == 'idle' then
    names_of = redis.call('ZRANGEBYLEX', listed, '-', '[' .. ARGV[4] .. ';', 'LIMIT', 0, ARGV[5])
else
    local from = '+'
    if ARGV[4] ~= '' then from = '(' .. ARGV[4] end
    names_of = redis.call('ZREVRANGEBYLEX', listed, from, '-', 'LIMIT', 0, ARGV[5])
end
local found = {}
for i, name in ipairs(names_of) do
    local session = string.sub(name, 18)
    local about, turns = names(ARGV[1], session)
    local told = redis.call('HMGET', about, 'agent', 'id', 'first', 'last')
    found[i] = {session, told[1], told[2], redis.call('ZCARD', turns), told[3], told[4]}
end
return found
"""
)
"""Namespace, agent, `idle` or `used`, up to or before where, most. `;` comes behind `:`."""

OF_USER: Final = (
    _COMMON
    + r"""
local found = {}
for i, name in ipairs(redis.call('SMEMBERS', prefix .. 'p:' .. ARGV[1] .. ':' .. ARGV[2])) do
    local session = string.match(name, '/(.*)$')
    local about, turns = names(ARGV[1], session)
    local told = redis.call('HMGET', about, 'agent', 'id', 'first', 'last')
    found[i] = {session, told[1], told[2], redis.call('ZCARD', turns), told[3], told[4]}
end
return found
"""
)
"""Namespace and user."""

FOLLOW: Final = (
    _COMMON
    + r"""
local agent = ARGV[1] .. '/' .. ARGV[2]
if redis.call('HEXISTS', agents, agent) == 1 then return 1 end
if redis.call('EXISTS', prefix .. 'k:' .. ARGV[1] .. ':' .. ARGV[2]) == 1 then return 0 end
redis.call('HSET', agents, agent, ARGV[3])
return 1
"""
)
"""Namespace, agent, position. Returns 0 where a drop that was cut short has left something."""

DROP: Final = (
    _COMMON
    + r"""
local ns, agent = ARGV[1], ARGV[2]
redis.call('HDEL', agents, ns .. '/' .. agent)
local kept = prefix .. 'k:' .. ns .. ':' .. agent
local sessions = redis.call('SRANDMEMBER', kept, ARGV[3])
for _, session in ipairs(sessions) do
    local about, turns, values = names(ns, session)
    local told = redis.call('HGETALL', about)
    for i = 1, #told, 2 do
        if string.sub(told[i], 1, 2) == 'n:' then
            redis.call('SREM', prefix .. 'p:' .. ns .. ':' .. string.sub(told[i], 3), agent .. '/' .. session)
        elseif told[i] == 'last' then
            unlist(ns, agent, session, told[i + 1])
        end
    end
    redis.call('UNLINK', about, turns, values)
    redis.call('SREM', kept, session)
end
return #sessions
"""
)
"""Namespace, agent, most. Returns how many sessions it removed: 0 when none is left."""

ALL: Final = (APPLY, LAST, PAGE, SESSIONS, OF_USER, FOLLOW, DROP)
