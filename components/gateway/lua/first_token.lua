-- How long a site has to a stream's first token: what its class allows, and the time that reading the prompt may take.
-- CONFIG (rendered above): stream_header, first_token_s, prompt_tokens_per_s, most_s.

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get(CONFIG.stream_header) ~= "true" then return end
  -- A token of a prompt has some four bytes.
  local tokens = (tonumber(headers:get("content-length")) or 0) / 4
  local limit = math.min(CONFIG.first_token_s + tokens / CONFIG.prompt_tokens_per_s, CONFIG.most_s)
  headers:replace("x-envoy-upstream-rq-per-try-timeout-ms", tostring(math.ceil(limit * 1000)))
end
