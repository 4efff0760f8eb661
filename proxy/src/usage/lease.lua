-- What `engine::meter::Account::serve` does, for many customers in one call. Times are microseconds of the server.
-- KEYS: one hash for each customer. ARGV: eleven numbers for each; see `valkey.rs`. Answers five numbers for each.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local day = math.floor(time[1] / 86400)
local out = {}
local at = 0
for k = 1, #KEYS do
  local key = KEYS[k]
  local arg = {}
  for n = 1, 11 do arg[n] = tonumber(ARGV[at + n]) end
  at = at + 11
  local interval, burst, back, want, ahead = arg[1], arg[2], arg[3], arg[4], arg[5]
  local window, ends, limit, unused, owed, wanted = arg[6], arg[7], arg[8], arg[9], arg[10], arg[11]
  local known = redis.call('HMGET', key, 'f', 'i', 'b', 'w', 'u')
  local ready, coming, next_in, granted, used = 0, 0, 0, 0, 0
  local ttl = 60
  if interval > 0 then
    local full = math.max(tonumber(known[1]) or 0, now)
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
    redis.call('HSET', key, 'f', string.format('%.17g', full), 'i', string.format('%.17g', interval), 'b', burst)
    ttl = math.max(ttl, math.ceil((full - now) / 1000000) + 60)
  end
  if window >= 0 then
    local start = tonumber(known[4]) or -1
    used = tonumber(known[5]) or 0
    if start > window then
      used = limit
    else
      if start < window then used = 0 end
      used = math.max(0, used + owed - unused)
      local left = math.max(0, limit - used)
      granted = math.min(wanted, math.max(1, math.floor(left / 8)), left)
      used = used + granted
      redis.call('HSET', key, 'w', string.format('%.0f', window), 'u', string.format('%.0f', used),
        'd' .. day, string.format('%.0f:%.0f', window, used))
      redis.call('HDEL', key, 'd' .. (day - 90))
    end
    ttl = math.max(ttl, ends - time[1], 90 * 86400)
  end
  redis.call('EXPIRE', key, string.format('%.0f', math.min(ttl, 1e9)))
  out[#out + 1] = ready
  out[#out + 1] = coming
  out[#out + 1] = next_in
  out[#out + 1] = granted
  out[#out + 1] = used
end
return out
