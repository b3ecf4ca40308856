-- The front of tensors, second half: what was found wrong is answered, and all else gets its route, now that the body is
-- here whole.
-- CONFIG (rendered above): checked (name of the metadata that tensor.lua leaves), group_header, reason_header.

function envoy_on_request(handle)
  local headers = handle:headers()
  local noted = handle:streamInfo():dynamicMetadata():get(CONFIG.checked) or {}
  if noted.status then
    local told = { [":status"] = noted.status, ["www-authenticate"] = noted.challenge }
    told[CONFIG.reason_header] = noted.reason
    return handle:respond(told, noted.why)
  end
  if noted.bytes then headers:replace("content-length", tostring(noted.bytes)) end
  if noted.json then headers:replace("inference-header-content-length", tostring(noted.json)) end
  -- A request has no route without it: whatever went wrong before lets nothing through.
  headers:remove(CONFIG.group_header)
  if noted.group then headers:replace(CONFIG.group_header, noted.group) end
end
