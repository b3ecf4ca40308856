-- One site's dialect: its host and paths on the way in, and what its status codes mean on the way out.
-- CONFIG (rendered above): site, authority, paths (where a whole answer is asked for and where a stream, and the
-- container's own route where these do not say it) or nil, stream_header, route_header, max_body or nil, dialect, keep (headers that
-- go to a cloud),
-- openai (errors have OpenAI's form), own_header (on what no server said), failed_header (on a stream that begins
-- with an error), failed_input_header (on a 500 over what came in), reason_header, reasons.

local function refuse(handle, why)
  handle:respond({ [":status"] = "503", [CONFIG.reason_header] = CONFIG.reasons.unfit }, why)
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
  local route
  if CONFIG.paths then
    local there = CONFIG.paths[path]
    if not there then return refuse(handle, "this site does not serve that path") end
    path, query = headers:get(CONFIG.stream_header) and there.streamed or there.whole, ""
    route = there.route
  end
  local size = tonumber(headers:get("content-length") or "0")
  if CONFIG.max_body and size > CONFIG.max_body then return refuse(handle, "the body is too large for this site") end

  headers:remove("x-envoy-attempt-count")
  headers:replace(":path", path .. query)
  headers:replace(":authority", CONFIG.authority)
  if CONFIG.dialect == "sagemaker" then
    local head_length = headers:get("inference-header-content-length")
    if head_length then headers:replace("content-type", BINARY .. head_length) end
    headers:remove("inference-header-content-length")
  end
  if CONFIG.keep then keep_only(headers, CONFIG.keep) end
  if route then headers:replace(CONFIG.route_header, "route=" .. route) end
end

-- What the model itself answered, and its message: 424 stands for any answer that is not 200.
local function model_error(handle)
  local azure = handle:headers():get("ms-azureml-model-error-statuscode")
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  if CONFIG.dialect == "azure_ml" then return tonumber(azure), text, body end
  local found = members(text, 1)
  return tonumber(value_of(found, "OriginalStatusCode")), string_of(value_of(found, "OriginalMessage")), body
end

local function client_at_fault(status)
  return status and status >= 400 and status < 500 and status ~= 408 and status ~= 429
end

-- SageMaker gives a container 60 seconds for an answer in one piece, says this, and leaves it at work
-- (github.com/aws/sagemaker-python-sdk/issues/1119). Elsewhere it would begin from nothing, and be as long.
local TOO_LONG = "timed out while waiting for a response from container"

-- What a container said of a request that it did not begin: full, or too slow to take it.
local REFUSED = { [408] = true, [429] = true, [503] = true }

local REASONS = {
  ["503"] = " does not take the request",
  ["504"] = " gives an answer in one piece no more time; ask for it as a stream, or for a shorter one",
}

-- 504: told at once. 503: another site may still answer. Above: the container had the request, and failed over it.
local function failed(handle, status)
  local headers = handle:headers()
  headers:replace(":status", status)
  -- OpenAI's libraries ask again after a 5xx, unless they are told not to.
  if status == "504" then headers:replace("x-should-retry", "false") end
  if not CONFIG.openai then return end
  local body = handle:body(true)
  local why = CONFIG.site .. (REASONS[status] or " failed while it worked on the request")
  local text = '{"error":{"message":"' .. why .. '","type":"gateway_error","param":null,"code":' .. status .. "}}"
  headers = handle:headers()
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(body:setBytes(text)))
end

-- A stream that begins with an error is no stream: it becomes the answer that would have been given before one. The
-- error has no name, what a stream of responses says before it has.
local function failed_stream(handle)
  local body = handle:body(true)
  local event = ("\n\n" .. body:getBytes(0, body:length())):match("\n\ndata: ([^\n]*)")
  local code = tonumber(value_of(members(value_of(members(event, 1), "error") or "", 1), "code") or "")
  local headers = handle:headers()
  headers:remove(CONFIG.failed_header)
  headers:remove("transfer-encoding")
  headers:replace(":status", tostring(code and code >= 400 and code < 600 and code or 500))
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(body:setBytes(event)))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  headers:replace(CONFIG.site_header, CONFIG.site)
  if headers:get(CONFIG.failed_header) then return failed_stream(handle) end
  if headers:get(CONFIG.own_header) then return end
  if headers:get(CONFIG.failed_input_header) then
    headers:remove(CONFIG.failed_input_header)
    headers:replace(":status", "500")
  end
  if CONFIG.dialect == "private" then return end

  local head_length = (headers:get("content-type") or ""):match("json%-header%-size=(%d+)")
  if head_length then
    headers:replace("inference-header-content-length", head_length)
    headers:replace("content-type", "application/octet-stream")
  end
  -- Unpacked behind this filter, by one that could not foresee the length.
  if (headers:get("content-type") or ""):find("^application/vnd%.amazon%.eventstream") then
    headers:replace("content-type", headers:get("x-amzn-sagemaker-content-type") or "text/event-stream")
    headers:remove("content-length")
  end
  local status = tonumber(headers:get(":status"))
  if status == 424 then
    local original, message, body = model_error(handle)
    -- Waiting for the body ends the life of every object that was taken before.
    headers = handle:headers()
    if original == 500 and not CONFIG.openai and fault_of(message) == "client" then original = 400 end
    if client_at_fault(original) then
      headers:replace(":status", tostring(original))
      if message then headers:replace("content-length", tostring(body:setBytes(message))) end
      return
    end
    if CONFIG.openai and (message or ""):find(TOO_LONG, 1, true) then return failed(handle, "504") end
    return failed(handle, (original and REFUSED[original]) and "503" or "502")
  end
  -- Any other 4xx is between the gateway and the cloud (signature, key, quota, endpoint): another site may still answer.
  if status >= 400 and status < 500 then
    headers:replace(CONFIG.reason_header, CONFIG.reasons.cloud)
    return failed(handle, "503")
  end
  if status >= 500 then failed(handle, tostring(status)) end
end
