-- The gateway's front: who asks, how urgently, which sites may serve it, and with what priority.
-- CONFIG (rendered above): callers by key hash, anonymous, operator, sites, priorities, and names of headers.

local function refuse(handle, status, why)
  handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, '{"error":"' .. why .. '"}')
end

local function clear(headers)
  local names = {}
  for name in pairs(headers) do
    if name:find("^x%-spillway%-") or name:find("^x%-envoy%-") then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do headers:remove(name) end
  headers:remove("authorization")
end

local function caller_of(headers)
  local key = headers:get(CONFIG.key_header)
  if not key then key = (headers:get("authorization") or ""):match("^[Bb]earer%s+(%S+)$") end
  if not key then return CONFIG.anonymous end
  return #key <= 256 and CONFIG.callers[sha256(key)] or CONFIG.anonymous
end

local function is_operator(headers)
  local key = headers:get(CONFIG.operator_header)
  return key and CONFIG.operator and #key <= 256 and sha256(key) == CONFIG.operator
end

local function capped(wanted, most)
  return wanted < most and most or wanted
end

-- A client's own priority is dropped and the gateway's written: Triton reads parameters.priority, vLLM priority.
local function with_priority(json, path, level)
  if path:find("^/v1/") then
    return with_member(json, "priority", function() return tostring(level - 1) end)
  end
  return with_member(json, "parameters", function(parameters)
    if not parameters or parameters:byte(1) ~= OPEN then parameters = "{}" end
    return with_member(parameters, "priority", function() return tostring(level) end)
  end)
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
  local edited = with_priority(head, path, level)
  if not edited then
    refuse(handle, "400", "the body must be a JSON object")
    return false
  end
  if head_length then headers:replace("inference-header-content-length", tostring(#edited)) end
  headers:replace("content-length", tostring(body:setBytes(edited .. tail)))
  return true
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local wanted = headers:get(CONFIG.class_header) or CONFIG.default_class
  local site = headers:get(CONFIG.site_header)
  local operator = is_operator(headers)
  local known_key = headers:get(CONFIG.key_header) or headers:get("authorization")
  local caller = caller_of(headers)
  if operator and not known_key then caller = CONFIG.operator_caller end
  clear(headers)

  if not caller then return refuse(handle, "401", "no known key in " .. CONFIG.key_header) end
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
  if headers:get(":method") == "POST" and (path:find("^/v2/models/") or path:find("^/v1/")) then
    if not write_priority(handle, path, CONFIG.priorities[class]) then return end
  end
  -- Last, because a request has no route without it: whatever goes wrong above lets nothing through.
  handle:headers():replace(CONFIG.group_header, group)
end
