-- The gateway's front: who asks, how urgently, which sites may serve it, and with what priority.
-- CONFIG (rendered above): callers by key hash, anonymous, operator, sites, priorities, and names of headers.

local function refuse(handle, status, why, challenge)
  handle:respond({ [":status"] = status, ["www-authenticate"] = challenge }, why)
end

-- Headers that mean something to the gateway, or to the servers behind it (vLLM takes a priority and a rank), and so
-- are not a client's to set.
local RESERVED = { "^x%-spillway%-", "^x%-envoy%-", "^x%-vllm%-", "^x%-data%-parallel%-" }

local function is_reserved(name)
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

-- Who asks, or nil. Whoever brings a key means to be somebody: one that nobody has is never taken for no key, unless
-- there is nobody to be.
local function caller_of(key)
  if not key or not next(CONFIG.callers) then return CONFIG.anonymous end
  return #key <= 256 and CONFIG.callers[sha256(key)] or nil
end

local function is_operator(headers)
  local key = headers:get(CONFIG.operator_header)
  return key and CONFIG.operator and #key <= 256 and sha256(key) == CONFIG.operator
end

local function capped(wanted, most)
  return wanted < most and most or wanted
end

-- A client's own priority is dropped and the gateway's written: Triton reads parameters.priority, vLLM priority. Second,
-- the members of the body.
local function with_priority(json, path, level)
  if path:find("^/v1/") then
    return with_member(json, "priority", function() return tostring(level - 1) end)
  end
  return with_member(json, "parameters", function(parameters)
    if not parameters or parameters:byte(1) ~= OPEN then parameters = "{}" end
    return with_member(parameters, "priority", function() return tostring(level) end)
  end)
end

-- True when a body that came as gzip is all that was packed; otherwise the request has been answered.
local function is_whole(handle, text)
  local packed = handle:streamInfo():dynamicMetadata():get(CONFIG.gzip)
  if not packed then return true end
  if #text > CONFIG.gzip_ratio * packed.bytes then
    refuse(handle, "413", "the gzip body unpacks to more than " .. CONFIG.gzip_ratio .. " times its size")
    return false
  end
  if packed.members ~= 1 or packed.unpacked ~= #text or packed.crc32 ~= crc32(text) then
    refuse(handle, "400", "the gzip body is damaged, cut off or more than one member")
    return false
  end
  return true
end

-- A chat's messages up to the user's first: the part that all of its turns have.
local function first_turn(messages)
  local at = messages:find("%S", 2)
  while at and messages:byte(at) == OPEN do
    local finish = after_value(messages, at)
    if not finish then return messages end
    local role = value_of(members(messages:sub(at, finish - 1), 1), "role")
    if role == '"user"' then return messages:sub(1, finish - 1) end
    at = messages:match("^%s*,%s*()", finish)
  end
  return messages
end

-- By what requests that begin alike are told: the client's own key, a chat's first turn, or how another prompt begins.
local function prefix_of(json)
  local found = members(json, 1)
  local messages = value_of(found, "messages")
  local text = value_of(found, "prompt_cache_key") or (messages and first_turn(messages))
  if not text then
    text = value_of(found, "prompt") or value_of(found, "input")
    text = text and text:sub(1, CONFIG.prefix_bytes)
  end
  return text and tostring(crc32(text))
end

-- True when the body is as it should be; otherwise the request has been answered.
local function write_priority(handle, path, level)
  if handle:headers():get("content-encoding") then
    refuse(handle, "415", "content-encoding must be gzip or none")
    return false
  end
  local body = handle:body(true)
  -- Waiting for the body ends the life of every object that was taken before.
  local headers = handle:headers()
  local text = body:getBytes(0, body:length())
  if not is_whole(handle, text) then return false end
  local head, tail = text, ""
  local head_length = headers:get("inference-header-content-length")
  if head_length then
    local split = tonumber(head_length)
    if not split or not head_length:find("^%d+$") or split > #text then
      refuse(handle, "400", "inference-header-content-length does not fit the body")
      return false
    end
    head, tail = text:sub(1, split), text:sub(split + 1)
  end
  local edited, found = with_priority(head, path, level)
  if not edited then
    refuse(handle, "400", "the body must be a JSON object")
    return false
  end
  -- Triton answers 500 to what it cannot parse.
  if path:find("/infer$") and not (value_of(found, "inputs") or ""):find("^%[%s*[{%]]") then
    refuse(handle, "400", 'the body must be a KServe v2 request: {"inputs": [{"name", "shape", "datatype", "data"}]}')
    return false
  end
  -- vLLM's header goes before its body's member, whatever a parser makes of that; clouds hand no headers on.
  if path:find("^/v1/") then headers:replace(CONFIG.vllm_header, tostring(level - 1)) end
  if path:find("/generate_stream$") or (path:find("^/v1/") and value_of(members(head, 1), "stream") == "true") then
    headers:replace(CONFIG.stream_header, "true")
  end
  if CONFIG.prefix_header then
    local prefix = prefix_of(head)
    if prefix then headers:replace(CONFIG.prefix_header, prefix) end
  end
  if path:find("^/v1/") then
    edited = expect_usage(handle, edited, path)
    if not edited then
      refuse(handle, "400", "the body must be a JSON object")
      return false
    end
  end
  if head_length then headers:replace("inference-header-content-length", tostring(#edited)) end
  headers:replace("content-length", tostring(body:setBytes(edited .. tail)))
  return true
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

function envoy_on_request(handle)
  local headers = handle:headers()
  local wanted = headers:get(CONFIG.class_header) or CONFIG.default_class
  local site = headers:get(CONFIG.site_header)
  local operator = is_operator(headers)
  local key = offered_key(headers)
  local caller = caller_of(key)
  if operator and not key then caller = CONFIG.operator_caller end
  clear(headers)

  if not caller then
    local challenge = 'Bearer realm="spillway"' .. (key and ', error="invalid_token"' or "")
    return refuse(handle, "401", "no known key in " .. CONFIG.key_header .. " or authorization", challenge)
  end
  if not CONFIG.priorities[wanted] then return refuse(handle, "400", CONFIG.class_header .. " must be P0, P1 or P2") end
  local class = capped(wanted, caller.max_class)
  local group = caller.groups[class]
  if operator and site then
    if not CONFIG.sites[site] then return refuse(handle, "400", "this gateway has no such site") end
    if not caller.sites[site] then return refuse(handle, "403", "this client's data must not go to that site") end
    group = "only-" .. site
  end
  if not group then return refuse(handle, "503", "this client's data must not leave the private site") end

  headers:replace(CONFIG.class_header, class)
  headers:replace(CONFIG.client_header, caller.name)
  local path = headers:get(":path")
  -- Admission lets a body in for inference alone.
  if headers:get(":method") == "POST" then
    if not write_priority(handle, path, CONFIG.priorities[class]) then return end
    local wait = wait_for_budget(handle, caller.name, class, handle:headers():get("x-request-id"))
    if wait then
      local why = "the token budget of " .. class .. " is used up for now"
      return handle:respond({ [":status"] = "429", ["retry-after"] = wait }, why)
    end
    if becomes_job(handle:headers(), caller, class, path:match("^[^?]*")) then group = CONFIG.jobs.group end
  elseif CONFIG.jobs and path:match("^[^?]*"):find(CONFIG.jobs.pattern) then
    if not caller.jobs then return refuse(handle, "404", "this client has no jobs: its data must not go there") end
    group = CONFIG.jobs.group
  end
  -- Last, because a request has no route without it: whatever goes wrong above lets nothing through.
  handle:headers():replace(CONFIG.group_header, group)
end

-- OpenAI's client libraries wait as long as they are told before they ask again.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  headers:remove(CONFIG.own_header)
  if (status == "503" or status == "429") and not headers:get("retry-after") then
    headers:replace("retry-after", CONFIG.retry_after)
  end
  local noted = handle:streamInfo():dynamicMetadata():get(CONFIG.usage)
  if noted and status == "200" then watch_answer(handle, noted.kept) end
end
