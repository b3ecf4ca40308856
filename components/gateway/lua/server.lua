-- Between a Triton server and Envoy's count of its failures: what a request brought on itself puts no server out.
-- CONFIG (rendered above): failed_input_header (on a 500 that counts against nobody; the site's filter takes it away).

function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "500" then return end
  local body = handle:body(true)
  local fault = fault_of(body:getBytes(0, body:length()))
  if fault == "client" then handle:headers():replace(":status", "400") end
  if fault == "input" then
    handle:headers():replace(":status", "503")
    handle:headers():add(CONFIG.failed_input_header, "true")
  end
end
