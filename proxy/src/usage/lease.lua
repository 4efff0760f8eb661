-- What `engine::meter::Account::serve` does, for many customers in one call. Times are microseconds of the server.
-- KEYS: one hash for each customer. ARGV: fourteen numbers for each; see `valkey.rs`. Answers seven numbers for each, and then the time
-- in milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local seconds = tonumber(time[1])
local day = math.floor(seconds / 86400)
local step = 2
local out = {}
local at = 0
for k = 1, #KEYS do
  local key = KEYS[k]
  local arg = {}
  for n = 1, 14 do arg[n] = tonumber(ARGV[at + n]) end
  at = at + 14
  local interval, burst, back, want, ahead = arg[1], arg[2], arg[3], arg[4], arg[5]
  local window, ends, limit, unused, owed, wanted = arg[6], arg[7], arg[8], arg[9], arg[10], arg[11]
  local life_epoch, life_version, life_used = arg[12], arg[13], arg[14]
  local known = redis.call('HMGET', key, 'f', 'i', 'b', 't', 'w', 'u', 'e', 'v', 'r', 'p', 'q')
  local ready, coming, next_in, granted, used, epoch, version = 0, 0, 0, 0, 0, 0, 0
  local ttl = 60
  if interval > 0 then
    local full, reckoned = tonumber(known[1]) or 0, tonumber(known[4]) or 0
    if reckoned - now > step * 1000000 then
      full = full - (reckoned - now)
      reckoned = now
    end
    reckoned = math.max(reckoned, now)
    full = math.max(full, now)
    local old_interval, old_burst = tonumber(known[2]) or 0, tonumber(known[3]) or 0
    if old_interval > 0 and (old_interval ~= interval or old_burst ~= burst) then
      local level = math.min(old_burst - (full - now) / old_interval, burst)
      full = now + (burst - level) * interval
    end
    full = math.max(full - back * interval, now)
    local empty = full - burst * interval
    ready = math.max(0, math.min(want, math.floor((now - empty) / interval + 1e-6)))
    local total = math.max(ready, math.min(math.max(want, ready), math.floor((now + ahead - empty) / interval + 1e-6)))
    full = full + total * interval
    coming = total - ready
    local first = total + 1
    if coming > 0 then first = ready + 1 end
    next_in = math.min(math.max(0, math.ceil(empty + first * interval - now)), 1e15)
    redis.call('HSET', key, 'f', string.format('%.17g', full), 'i', string.format('%.17g', interval), 'b', burst,
      't', string.format('%.0f', reckoned))
    ttl = math.max(ttl, math.ceil((full - now) / 1000000) + 60)
  end
  if window >= 0 then
    local start, count = tonumber(known[5]) or 0, tonumber(known[6]) or 0
    local recovered = tonumber(known[9]) or 0
    local before, before_count = tonumber(known[10]) or -1, tonumber(known[11]) or 0
    local open = window <= seconds + step
    if open and start < window then
      before, before_count, count, recovered = start, count, 0, 0
    elseif open and start > seconds + step then
      if before == window then count = count + before_count end
      before, before_count, recovered = -1, 0, 0
    elseif open and start > window then
      open = ends > start
      before, before_count, count, recovered = -1, 0, 0, 0
    end
    if open then
      epoch, version = tonumber(known[7]) or 0, tonumber(known[8]) or 0
      if version == 0 then epoch = now end
      if life_version > 0 and (life_epoch ~= epoch or life_version > version) then
        if life_epoch == epoch then epoch, recovered = now, count end
        if life_used > recovered then count, recovered = count + life_used - recovered, life_used end
      end
      count = math.max(0, count + owed - unused)
      local left = math.max(0, limit - count)
      granted = math.min(wanted, math.max(1, math.floor(left / 8)), left)
      used = count + granted
      version = version + 1
      local whole = function(number) return string.format('%.0f', number) end
      redis.call('HSET', key, 'w', whole(window), 'u', whole(used), 'e', whole(epoch), 'v', whole(version), 'r', whole(recovered),
        'p', whole(before), 'q', whole(before_count), 'd' .. day, whole(window) .. ':' .. whole(used))
      redis.call('HDEL', key, 'd' .. (day - 90))
    else
      used = limit
    end
    ttl = math.max(ttl, ends - seconds, 90 * 86400)
  end
  redis.call('EXPIRE', key, string.format('%.0f', math.min(ttl, 1e9)))
  out[#out + 1] = ready
  out[#out + 1] = coming
  out[#out + 1] = next_in
  out[#out + 1] = granted
  out[#out + 1] = used
  out[#out + 1] = epoch
  out[#out + 1] = version
end
out[#out + 1] = seconds * 1000 + math.floor(time[2] / 1000)
return out
