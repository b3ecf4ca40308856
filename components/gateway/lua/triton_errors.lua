-- Whose fault a 500 of Triton is, by its words.

-- Of a body that it cannot parse (its src/http_server.cc, and triton_json.h of triton-inference-server/common).
local UNREADABLE = {
  "^Unable to parse ", "^Unable to set '", "^failed to parse the request JSON buffer", "^failed to get request params",
  "^attempt to access ", "^attempt to get members ",
}
-- ONNX Runtime stopped at a node over what came in: shapes that do not fit each other, ids that no table has.
local AT_A_NODE = "Non%-zero status code returned while running %w+ node"
-- At a node, too, but over the machine.
local MACHINE = { "CUDA", "CUDNN", "CUBLAS", "HIP", "ROCM", "MIOPEN", "MIGraphX", "TensorRT", "[Aa]lloc", "[Mm]emory" }

local function finds_any(text, patterns)
  for _, pattern in ipairs(patterns) do
    if text:find(pattern) then return true end
  end
  return false
end

-- "client": whoever sent it. "input": what came in, but perhaps another request's of the same batch, which ends with
-- the same words. "server": all else.
local function fault_of(text)
  local why = string_of(value_of(members(text or "", 1), "error"))
  if not why then return "server" end
  if finds_any(why, UNREADABLE) then return "client" end
  if why:find(AT_A_NODE) and not finds_any(why, MACHINE) then return "input" end
  return "server"
end
