-- The front of language models: the gateway's priority in a request's body, and what the body says of its answer.
-- CONFIG (rendered above): see caller.lua and usage.lua; prefix_header, prefix_bytes, vllm_header, stream_header.

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

local NO_OBJECT = refusal("400", "the body must be a JSON object")

-- Writes the gateway's priority in place of the client's: nil where all is well, otherwise what is answered.
local function rewrite(handle, path, level)
  if handle:headers():get("content-encoding") then return refusal("415", "content-encoding must be gzip or none") end
  local body = handle:body(true)
  -- Waiting for the body ends the life of every object that was taken before.
  local headers = handle:headers()
  local text = body:getBytes(0, body:length())
  local fault = gzip_fault(handle, #text, function() return crc32(text) end)
  if fault then return fault end
  local edited, found = with_member(text, "priority", function() return tostring(level - 1) end)
  if not edited then return NO_OBJECT end
  -- vLLM's header goes before its body's member, whatever a parser makes of that; clouds hand no headers on.
  headers:replace(CONFIG.vllm_header, tostring(level - 1))
  if value_of(found, "stream") == "true" then headers:replace(CONFIG.stream_header, "true") end
  if CONFIG.prefix_header then
    local prefix = prefix_of(text)
    if prefix then headers:replace(CONFIG.prefix_header, prefix) end
  end
  edited = expect_usage(handle, edited, path)
  if not edited then return NO_OBJECT end
  headers:replace("content-length", tostring(body:setBytes(edited)))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path"):match("^[^?]*")
  local caller, class, group = identify(handle)
  if not caller then return refuse(handle, class) end
  -- Admission lets a body in for inference alone.
  if headers:get(":method") == "POST" then
    local refused = rewrite(handle, path, CONFIG.priorities[class])
    if refused then return refuse(handle, refused) end
    local wait = wait_for_budget(handle, caller.name, class, handle:headers():get("x-request-id"))
    if wait then
      local why = "the token budget of " .. class .. " is used up for now"
      local told = { [":status"] = "429", ["retry-after"] = wait, [CONFIG.reason_header] = CONFIG.reasons.tokens }
      return handle:respond(told, why)
    end
    if becomes_job(handle:headers(), caller, class, path) then group = CONFIG.jobs.group end
  else
    local refused
    group, refused = group_of_question(caller, group, path)
    if not group then return refuse(handle, refused) end
  end
  -- Last, because a request has no route without it: whatever goes wrong above lets nothing through.
  handle:headers():replace(CONFIG.group_header, group)
end
