-- Admission: what clients may ask for, before anything of the request is held, and what a gzip body is before
-- Envoy unpacks it.
-- CONFIG (rendered above): paths (Lua patterns, with the methods of each), closed (paths that none of them means),
-- most_bytes, gzip (name of the metadata).

local function refuse(handle, status, why, more)
  local headers = more or {}
  headers[":status"] = status
  handle:respond(headers, why)
end

-- The methods that a path takes, or nil.
local function methods_of(path)
  if CONFIG.closed[path] then return nil end
  local found
  for pattern, methods in pairs(CONFIG.paths) do
    if path:find(pattern) then
      found = found or {}
      for method in pairs(methods) do found[method] = true end
    end
  end
  return found
end

local function names_of(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

-- Little-endian, as RFC 1952 ends a gzip member: CRC-32, then the size of what was packed.
local function number_at(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  return a + b * 256 + c * 65536 + d * 16777216
end

-- Envoy's decompressor says nothing when it stops: at damage, at the end of the first member, or where a body was cut
-- off. So what the last member says of itself is kept, and the front compares.
local function watch_gzip(handle)
  local parts, size = {}, 0
  -- The front reads what is unpacked while this reads on, and has to know from the beginning.
  handle:streamInfo():dynamicMetadata():set(CONFIG.gzip, "bytes", 0)
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    size = size + length
    if size <= CONFIG.most_bytes and length > 0 then parts[#parts + 1] = chunk:getBytes(0, length) end
  end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(CONFIG.gzip, "bytes", size)
  local packed = table.concat(parts)
  if size < 18 or size > #packed then return end
  local tail = packed:sub(-8)
  metadata:set(CONFIG.gzip, "crc32", number_at(tail, 1))
  metadata:set(CONFIG.gzip, "unpacked", number_at(tail, 5))
  -- A member that ends earlier in the same way would be unpacked alone.
  metadata:set(CONFIG.gzip, "members", packed:find(tail, 1, true) == #packed - 7 and 1 or 2)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = headers:get(":path"):match("^([^?]*)(.*)$")
  local plain = path:match("^(.+)/$") or path
  local method = headers:get(":method")
  local methods = methods_of(plain)
  if not methods then
    return refuse(handle, "403", "this gateway passes inference, metadata and health; this path is none of them")
  end
  if not methods[method] then
    local allowed = names_of(methods)
    return refuse(handle, "405", "this path takes " .. allowed, { allow = allowed })
  end
  if plain ~= path then headers:replace(":path", plain .. query) end
  if (headers:get("content-encoding") or ""):lower():find("^%s*gzip%s*,?") then watch_gzip(handle) end
end
