-- The front of tensors, first half: who asks, and the gateway's priority in what passes. The body goes on while it is
-- read; it is held whole behind this filter, and gate.lua lets it out, with what is noted here.
-- CONFIG (rendered above): see caller.lua; checked (name of the metadata), most_bytes, stream_header.

-- How many bytes of a body are JSON: all, or as many as are said; -1 where that is no number.
local function json_bytes(headers)
  local said = headers:get("inference-header-content-length")
  if not said then return math.huge end
  return said:find("^%d+$") and tonumber(said) or -1
end

-- The part that goes on in place of a chunk whose first `own` bytes are JSON.
local function pass(scan, chunk, own, length)
  local written = scan_part(scan, chunk:getBytes(0, own))
  if not written then return end
  chunk:setBytes(own < length and written .. chunk:getBytes(own, length - own) or written)
end

-- Reads a body to its end: why it is refused, or how many bytes it has then, and how many of these are JSON where that is
-- said.
local function read(handle, scan, most)
  local size, checksum = 0, 0
  local packed = handle:streamInfo():dynamicMetadata():get(CONFIG.gzip)
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    local own = math.min(most - size, length)
    size = size + length
    -- What is longer is refused by the filter that holds it.
    if size <= CONFIG.most_bytes and length > 0 then
      if packed then checksum = crc32(chunk:getBytes(0, length), checksum) end
      if own > 0 and not scan.fault then pass(scan, chunk, own, length) end
    end
  end
  local fault = gzip_fault(handle, size, function() return checksum end)
  if fault then return fault end
  if most ~= math.huge and (most < 0 or most > size) then
    return refusal("400", "inference-header-content-length does not fit the body")
  end
  local why = fault_of_scan(scan)
  if why then return refusal("400", why) end
  return { bytes = size + scan.grown, json = most ~= math.huge and most + scan.grown or nil }
end

local function note(handle, noted)
  local metadata = handle:streamInfo():dynamicMetadata()
  for key, value in pairs(noted) do metadata:set(CONFIG.checked, key, value) end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path"):match("^[^?]*")
  local caller, class, group = identify(handle)
  if not caller then return note(handle, class) end
  -- Admission lets a body in for inference alone.
  if headers:get(":method") ~= "POST" then
    local refused
    group, refused = group_of_question(caller, group, path)
    return note(handle, refused or { group = group })
  end
  if headers:get("content-encoding") then
    return note(handle, refusal("415", "content-encoding must be gzip or none"))
  end
  if path:find("/generate_stream$") then headers:replace(CONFIG.stream_header, "true") end
  if becomes_job(headers, caller, class, path) then group = CONFIG.jobs.group end
  local most = json_bytes(headers)
  local found = read(handle, new_scan(CONFIG.priorities[class], path:find("/infer$") ~= nil), most)
  found.group = group
  note(handle, found)
end
