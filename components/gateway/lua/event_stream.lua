-- Unpacks the frames in which AWS sends a stream (application/vnd.amazon.eventstream): what the container said, as
-- it said it. The form of a frame, big-endian: length, length of the headers, CRC-32 of these, headers, payload, CRC-32 of
-- all. TLS has guarded the bytes, so the sums are not asked.
-- https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html

local function number_at(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Frames carry parts of an answer, or that there will be no more of it: then OpenAI's libraries are told.
local BROKEN = 'data: {"error":{"message":"the stream broke at the site","type":"gateway_error","param":null,"code":502}}\n\n'

local function is_exception(head)
  return head:find(":message-type\7\0\9exception", 1, true) ~= nil
end

function envoy_on_response(handle)
  local kind = handle:headers():get("content-type") or ""
  if not kind:find("^application/vnd%.amazon%.eventstream") then return end
  local rest = ""
  for chunk in handle:bodyChunks() do
    local text = rest .. chunk:getBytes(0, chunk:length())
    local parts, at = {}, 1
    while #text - at + 1 >= 12 do
      local length, head_length = number_at(text, at), number_at(text, at + 4)
      if length < 16 or #text - at + 1 < length then break end
      local head = text:sub(at + 12, at + 11 + head_length)
      local payload = text:sub(at + 12 + head_length, at + length - 5)
      parts[#parts + 1] = is_exception(head) and BROKEN or payload
      at = at + length
    end
    rest = text:sub(at)
    chunk:setBytes(table.concat(parts))
  end
end
