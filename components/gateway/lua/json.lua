-- Edits JSON text in place. Decoding and encoding it again would lose precision and cost a copy of every tensor;
-- this only walks the members of one object and leaves every other byte as it was.

local QUOTE, BACKSLASH, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = 34, 92, 123, 125, 91, 93

-- Plain searches and a byte loop that the JIT compiles: patterns cost 25 ns a byte, which megabytes of tensors feel.
local function after_string(text, at)
  while true do
    at = text:find('"', at + 1, true)
    if not at then return nil end
    local before = at - 1
    while text:byte(before) == BACKSLASH do before = before - 1 end
    if (at - before) % 2 == 1 then return at + 1 end
  end
end

local function after_value(text, at)
  local first = text:sub(at, at)
  if first == '"' then return after_string(text, at) end
  if first ~= "{" and first ~= "[" then
    local _, last = text:find("^[%w%+%-%.]+", at)
    return last and last + 1
  end
  local depth, length = 0, #text
  while at <= length do
    local byte = text:byte(at)
    if byte == QUOTE then
      at = after_string(text, at)
      if not at then return nil end
    else
      if byte == OPEN or byte == OPEN_LIST then depth = depth + 1 end
      if byte == CLOSE or byte == CLOSE_LIST then
        depth = depth - 1
        if depth == 0 then return at + 1 end
      end
      at = at + 1
    end
  end
end

-- "prior\u0069ty" is the same key to a JSON parser, so it has to be the same here.
local function key_of(text, from, to)
  local key = text:sub(from + 1, to - 2)
  if not key:find("\\", 1, true) then return key end
  return (key:gsub("\\u00(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Members of the object that starts at `at`: a list of {key, text of key, text of value}, and the index after the object.
-- nil where the text is no object.
local function members(text, at)
  at = text:find("%S", at)
  if not at or text:byte(at) ~= OPEN then return nil end
  local found = {}
  at = text:find("%S", at + 1)
  if at and text:byte(at) == CLOSE then return found, at + 1 end
  while at do
    if text:byte(at) ~= QUOTE then return nil end
    local key_end = after_string(text, at)
    if not key_end then return nil end
    local value = text:match("^%s*:%s*()%S", key_end)
    local value_end = value and after_value(text, value)
    if not value_end then return nil end
    found[#found + 1] = { key_of(text, at, key_end), text:sub(at, key_end - 1), text:sub(value, value_end - 1) }
    local separator
    separator, at = text:match("^%s*([,}])%s*()", value_end)
    if separator == "}" then return found, at end
    if separator ~= "," then return nil end
  end
end

-- The value of a member, as JSON text.
local function value_of(found, name)
  for _, member in ipairs(found or {}) do
    if member[1] == name then return member[3] end
  end
end

-- The object with `name` set to `edit(old value or nil)` (JSON text), whatever it was before and however often it stood
-- there, and its members as they were. nil where the text is no object.
local function with_member(text, name, edit)
  local found, finish = members(text, 1)
  if not found or text:find("%S", finish) then return nil end
  local value = edit(value_of(found, name))
  if not value then return nil end
  local parts = { '"', name, '":', value }
  for _, member in ipairs(found) do
    if member[1] ~= name then
      local last = #parts
      parts[last + 1], parts[last + 2], parts[last + 3], parts[last + 4] = ",", member[2], ":", member[3]
    end
  end
  return "{" .. table.concat(parts) .. "}", found
end

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- The text of a JSON string (only ASCII escapes matter here: messages of model servers).
local function string_of(json)
  if not json or json:byte(1) ~= QUOTE then return nil end
  local plain = json:sub(2, -2):gsub("\\u00(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  return (plain:gsub("\\(.)", function(char) return ESCAPES[char] or char end))
end
