-- A trace that nobody keeps is not told to a server that would keep its part: Triton looks at no sampling flag.

function envoy_on_request(handle)
  local parent = handle:headers():get("traceparent")
  if parent and parent:sub(-2) == "00" then
    handle:headers():remove("traceparent")
    handle:headers():remove("tracestate")
  end
end
