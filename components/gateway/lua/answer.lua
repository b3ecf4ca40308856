-- What clients are told beside a server's answer.
-- CONFIG (rendered above): own_header (on what no server said), reason_header, reasons, retry_after (by reason), usage
-- (name of the metadata) or nil.

-- Why a request is refused, where nobody has said so yet: the filter of rates, or a server.
local function reason_of(headers, status)
  local said = headers:get(CONFIG.reason_header)
  if said then return said end
  local reason = status == "429" and headers:get(CONFIG.own_header) and CONFIG.reasons.rate or CONFIG.reasons.server
  headers:replace(CONFIG.reason_header, reason)
  return reason
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  if status == "503" or status == "429" then
    local wait = CONFIG.retry_after[reason_of(headers, status)]
    if wait and not headers:get("retry-after") then headers:replace("retry-after", wait) end
  end
  headers:remove(CONFIG.own_header)
  local noted = CONFIG.usage and handle:streamInfo():dynamicMetadata():get(CONFIG.usage)
  if noted and status == "200" then watch_answer(handle, noted.kept) end
end
