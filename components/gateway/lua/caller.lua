-- Who asks, how urgently, and which sites may serve it.
-- CONFIG (rendered above): callers by key hash, anonymous, operator, sites, priorities, reasons, and names of headers.

local function refusal(status, why, challenge, reason)
  return { status = status, why = why, challenge = challenge, reason = reason }
end

local function unavailable(why, reason)
  return refusal("503", why, nil, reason)
end

-- Headers that mean something to the gateway, or to the servers behind it (vLLM takes a priority and a rank), and so
-- are not a client's to set.
local RESERVED = { "^x%-spillway%-", "^x%-envoy%-", "^x%-vllm%-", "^x%-data%-parallel%-" }

local function is_reserved(name)
  if name:byte(1) ~= 120 then return false end
  for _, pattern in ipairs(RESERVED) do
    if name:find(pattern) then return true end
  end
  return false
end

local function clear(headers)
  local names = {}
  for name in pairs(headers) do
    if is_reserved(name) then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do headers:remove(name) end
  headers:remove("authorization")
end

-- The key that a request brings: "" where its credentials hold none, nil where it has no credentials at all. A scheme
-- is written in any letter case (RFC 9110, section 11.1).
local function offered_key(headers)
  local key = headers:get(CONFIG.key_header)
  if key then return key end
  local credentials = headers:get("authorization")
  return credentials and (credentials:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)$") or "")
end

-- Hashes of keys that somebody has: there are no more of these than callers, and each request of one needs it.
local HASHES = {}

local function hash_of(key)
  if #key > 256 then return "" end
  local hash = HASHES[key] or sha256(key)
  if CONFIG.callers[hash] or hash == CONFIG.operator then HASHES[key] = hash end
  return hash
end

-- Who has a key, or nil. Whoever brings a key means to be somebody: one that nobody has is never taken for no key,
-- unless there is nobody to be.
local function caller_of(key)
  if not key or not CONFIG.known then return CONFIG.anonymous end
  return CONFIG.callers[hash_of(key)]
end

-- Envoy's words for keys of the issuer that it could not fetch (jwt_verify_lib): nobody's token is wrong then.
local NOT_FETCHED = "Jwks remote fetch is failed"

local function unknown(why, description)
  local challenge = 'Bearer realm="spillway"' .. (description and ', error="invalid_token"' .. description or "")
  return refusal("401", why, challenge)
end

-- Whom a token names that Envoy has verified, and the most urgent class that it allows. Or nil, and what is answered; or
-- nil alone, where there is no token.
local function bearer_of(handle)
  local noted = CONFIG.token and handle:streamInfo():dynamicMetadata():get(CONFIG.token.filter)
  local claims = noted and noted[CONFIG.token.claims]
  if not claims then return nil, nil, noted and noted[CONFIG.token.failed] end
  local name = claims[CONFIG.token.client]
  local caller = type(name) == "string" and CONFIG.named[name]
  if not caller then return nil, refusal("403", "the token's " .. CONFIG.token.client .. " is no client of this gateway") end
  local most = CONFIG.token.class and claims[CONFIG.token.class]
  if most and not CONFIG.priorities[most] then
    return nil, refusal("403", "the token's " .. CONFIG.token.class .. " must be P0, P1 or P2")
  end
  return caller, most or "P0"
end

-- Why a token that nobody could verify is refused; a key that nobody has says no more than that.
local function why_not(key, failed)
  local why = "no known key in " .. CONFIG.key_header .. " or authorization"
  if not (failed and key and key:find("^[^.]+%.[^.]+%.[^.]*$")) then return unknown(why, key and "") end
  if failed.message == NOT_FETCHED then
    return unavailable("the keys of the tokens' issuer cannot be fetched", CONFIG.reasons.issuer)
  end
  local said = tostring(failed.message):gsub('["\\%c]', "")
  return unknown("the token is refused: " .. said, ', error_description="' .. said .. '"')
end

local function is_operator(headers)
  local key = headers:get(CONFIG.operator_header)
  return key and CONFIG.operator and hash_of(key) == CONFIG.operator
end

local function capped(wanted, most)
  return wanted < most and most or wanted
end

-- Who asks, in which class, and where that goes: a caller, a class and a group. Or nil, and what is answered. What the
-- client has no business to say is gone from the headers then.
local function identify(handle)
  local headers = handle:headers()
  local wanted = headers:get(CONFIG.class_header) or CONFIG.default_class
  local site = headers:get(CONFIG.site_header)
  local operator = is_operator(headers)
  local key = offered_key(headers)
  local caller, most, failed
  if not headers:get(CONFIG.key_header) then caller, most, failed = bearer_of(handle) end
  local refused = not caller and most
  if not caller and not refused then
    caller, most = caller_of(key), "P0"
    if operator and not key then caller = CONFIG.operator_caller end
  end
  clear(headers)

  if refused then return nil, refused end
  if not caller then return nil, why_not(key, failed) end
  if not CONFIG.priorities[wanted] then return nil, refusal("400", CONFIG.class_header .. " must be P0, P1 or P2") end
  local class = capped(capped(wanted, caller.max_class), most)
  local group = caller.groups[class]
  if operator and site then
    if not CONFIG.sites[site] then return nil, refusal("400", "this gateway has no such site") end
    if not caller.sites[site] then return nil, refusal("403", "this client's data must not go to that site") end
    group = "only-" .. site
  end
  if not group then
    return nil, unavailable("this client's data must not leave the private site", CONFIG.reasons.data_stays)
  end
  headers:replace(CONFIG.class_header, class)
  headers:replace(CONFIG.client_header, caller.name)
  return caller, class, group
end

-- Whether a request is to be answered later: its client prefers that, and may. A preference that is not met is passed
-- over in silence (RFC 7240, section 2).
local function becomes_job(headers, caller, class, path)
  if not (caller.jobs and class == CONFIG.jobs.class) or headers:get(CONFIG.stream_header) then return false end
  local preferred = ("," .. (headers:get("prefer") or "") .. ","):lower():gsub("%s", "")
  if not preferred:find(",respond%-async[,;]") then return false end
  for pattern in pairs(CONFIG.jobs.paths) do
    if path:find(pattern) then return true end
  end
  return false
end

-- The group of a request without a body. Or nil, and what is answered.
local function group_of_question(caller, group, path)
  if not (CONFIG.jobs and path:find(CONFIG.jobs.pattern)) then return group end
  if caller.jobs then return CONFIG.jobs.group end
  return nil, refusal("404", "this client has no jobs: its data must not go there")
end

local function refuse(handle, refused)
  local told = { [":status"] = refused.status, ["www-authenticate"] = refused.challenge }
  told[CONFIG.reason_header] = refused.reason
  handle:respond(told, refused.why)
end

-- What is wrong with a body that came as gzip and of which this was unpacked; nil where it is all that was packed, or
-- where it did not come as gzip. `checksum`: its CRC-32, asked for where it matters.
local function gzip_fault(handle, unpacked, checksum)
  local packed = handle:streamInfo():dynamicMetadata():get(CONFIG.gzip)
  if not packed then return nil end
  if unpacked > CONFIG.gzip_ratio * packed.bytes then
    return refusal("413", "the gzip body unpacks to more than " .. CONFIG.gzip_ratio .. " times its size")
  end
  if packed.members ~= 1 or packed.unpacked ~= unpacked or packed.crc32 ~= checksum() then
    return refusal("400", "the gzip body is damaged, cut off or more than one member")
  end
end
