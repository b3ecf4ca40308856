-- One site's dialect: its host and paths on the way in, and what its status codes mean on the way out.
-- CONFIG (rendered above): site, authority, paths or nil, max_body or nil, dialect, keep (headers that go to a cloud).

local function refuse(handle, why)
  handle:respond({ [":status"] = "503", ["content-type"] = "application/json" }, '{"error":"' .. why .. '"}')
end

-- A cloud gets what it needs and nothing else: no client identity, no cookies, and nothing unforeseen in a signature.
local function keep_only(headers, keep)
  local names = {}
  for name in pairs(headers) do
    if name:byte(1) ~= 58 and not keep[name] then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do headers:remove(name) end
end

local BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = headers:get(":path"):match("^([^?]*)(.*)$")
  if CONFIG.paths then
    path, query = CONFIG.paths[path], ""
    if not path then return refuse(handle, "this site does not serve that path") end
  end
  local size = tonumber(headers:get("content-length") or "0")
  if CONFIG.max_body and size > CONFIG.max_body then return refuse(handle, "the body is too large for this site") end

  headers:replace(":path", path .. query)
  headers:replace(":authority", CONFIG.authority)
  if CONFIG.dialect == "sagemaker" then
    local head_length = headers:get("inference-header-content-length")
    if head_length then headers:replace("content-type", BINARY .. head_length) end
    headers:remove("inference-header-content-length")
  end
  if CONFIG.keep then keep_only(headers, CONFIG.keep) end
end

-- What the model itself answered, and its message: 424 stands for any answer that is not 200.
local function model_error(handle)
  if CONFIG.dialect == "azure_ml" then return tonumber(handle:headers():get("ms-azureml-model-error-statuscode")) end
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  local found = members(text, 1)
  return tonumber(value_of(found, "OriginalStatusCode")), string_of(value_of(found, "OriginalMessage")), body
end

local function client_at_fault(status)
  return status and status >= 400 and status < 500 and status ~= 408 and status ~= 429
end

function envoy_on_response(handle)
  local headers = handle:headers()
  headers:replace(CONFIG.site_header, CONFIG.site)
  if CONFIG.dialect == "private" then return end

  local head_length = (headers:get("content-type") or ""):match("json%-header%-size=(%d+)")
  if head_length then
    headers:replace("inference-header-content-length", head_length)
    headers:replace("content-type", "application/octet-stream")
  end
  local status = tonumber(headers:get(":status"))
  if status == 424 then
    local original, message, body = model_error(handle)
    -- Waiting for the body ends the life of every object that was taken before.
    headers = handle:headers()
    if client_at_fault(original) then
      headers:replace(":status", tostring(original))
      if message then headers:replace("content-length", tostring(body:setBytes(message))) end
      return
    end
  end
  -- Any other 4xx is between the gateway and the cloud (signature, key, quota, endpoint): another site may still answer.
  if status >= 400 and status < 500 then headers:replace(":status", "503") end
end
