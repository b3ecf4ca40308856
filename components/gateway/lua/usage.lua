-- What a request may use of tokens, and what its answer used: reserved before it is sent, and noted while the answer
-- passes, so that a stream that is cut is known as far as it came.
-- CONFIG: usage (name of the metadata), budgets (by caller and class), answer_tokens (for an answer of which nobody says
-- how long it may become), agent (its cluster), agent_timeout_ms.

local STREAMS = { ["/v1/chat/completions"] = true, ["/v1/completions"] = true }
local GENERATES = { ["/v1/chat/completions"] = true, ["/v1/completions"] = true, ["/v1/responses"] = true }
local LIMITS = { "max_completion_tokens", "max_tokens", "max_output_tokens" }
-- Longer than a usage, which may stand across two parts of an answer.
local CARRY = 1024

local function is_set(found, name)
  return value_of(found, name) == "true"
end

-- The body with usage asked for in each part of a stream, and which of these the client wanted: all, last or none.
local function with_usage(json)
  local kept = "none"
  local edited = with_member(json, "stream_options", function(options)
    -- What is no object is the server's to refuse.
    if options and options ~= "null" and options:byte(1) ~= OPEN then return options end
    if options == nil or options == "null" then options = "{}" end
    local found = members(options, 1)
    if is_set(found, "include_usage") then kept = is_set(found, "continuous_usage_stats") and "all" or "last" end
    local wanted = with_member(options, "include_usage", function() return "true" end)
    return wanted and with_member(wanted, "continuous_usage_stats", function() return "true" end)
  end)
  return edited, kept
end

-- Tokens that a request may use at most: a token of a prompt has some four bytes.
local function at_most(json, found, path)
  local prompt = math.ceil(#json / 4)
  if not GENERATES[path] then return prompt end
  local answer
  for _, name in ipairs(LIMITS) do answer = answer or tonumber(value_of(found, name) or "") end
  return prompt + math.max(0, answer or CONFIG.answer_tokens) * math.max(1, tonumber(value_of(found, "n") or "") or 1)
end

-- The body as it is sent on; nil where it is no object. Notes what the answer is looked at for.
local function expect_usage(handle, json, path)
  local found = members(json, 1)
  if not found then return nil end
  local edited, kept = json, "all"
  if STREAMS[path] and is_set(found, "stream") then edited, kept = with_usage(json) end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(CONFIG.usage, "kept", kept)
  metadata:set(CONFIG.usage, "model", string_of(value_of(found, "model")) or "")
  metadata:set(CONFIG.usage, "reserved", at_most(json, found, path))
  return edited
end

-- Seconds until there is room for the request in its caller's budget; nil where there is. An agent that does not answer
-- refuses nobody.
local function wait_for_budget(handle, caller, class, id)
  local budget = (CONFIG.budgets[caller] or {})[class]
  local noted = budget and handle:streamInfo():dynamicMetadata():get(CONFIG.usage)
  if not noted then return nil end
  local headers = handle:httpCall(CONFIG.agent, {
    [":method"] = "POST", [":path"] = "/tokens/reserve", [":authority"] = CONFIG.agent, ["x-id"] = id,
    ["x-client"] = caller, ["x-class"] = class, ["x-tokens"] = tostring(math.floor(noted.reserved)),
  }, "", CONFIG.agent_timeout_ms)
  return headers[":status"] == "429" and (headers["retry-after"] or "1") or nil
end

local function number_of(text, name)
  return tonumber(text:match('"' .. name .. '"%s*:%s*(%d+)') or "")
end

-- Notes the last usage in a text. Within a JSON string its quotes would have backslashes before them.
local function note(handle, text)
  local last
  for usage in text:gmatch('"usage"%s*:%s*(%b{})') do last = usage end
  if not last then return end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(CONFIG.usage, "prompt", number_of(last, "prompt_tokens") or number_of(last, "input_tokens") or 0)
  metadata:set(CONFIG.usage, "completion", number_of(last, "completion_tokens") or number_of(last, "output_tokens") or 0)
  metadata:set(CONFIG.usage, "cached", number_of(last, "cached_tokens") or 0)
end

-- An event as the client asked for it.
local function as_asked(event, kept)
  if event:find('"choices":%[%]') and event:find('"usage":{', 1, true) then return kept == "last" and event or "" end
  return (event:gsub(',"usage":%b{}', ""))
end

local function watch_answer(handle, kept)
  local rest = ""
  for chunk in handle:bodyChunks() do
    local text = rest .. chunk:getBytes(0, chunk:length())
    note(handle, text)
    if kept == "all" then
      rest = text:sub(-CARRY)
    else
      local parts, last = {}, 0
      for event, at in text:gmatch("(.-\n\n)()") do
        parts[#parts + 1], last = as_asked(event, kept), at - 1
      end
      rest = text:sub(last + 1)
      chunk:setBytes(table.concat(parts))
    end
  end
end
