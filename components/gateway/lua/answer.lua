-- What clients are told beside a server's answer.
-- CONFIG (rendered above): own_header (on what no server said), retry_after, usage (name of the metadata) or nil.

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  headers:remove(CONFIG.own_header)
  if (status == "503" or status == "429") and not headers:get("retry-after") then
    headers:replace("retry-after", CONFIG.retry_after)
  end
  local noted = CONFIG.usage and handle:streamInfo():dynamicMetadata():get(CONFIG.usage)
  if noted and status == "200" then watch_answer(handle, noted.kept) end
end
