-- Writes a priority into a KServe request while its body passes, part by part, and sees that it is one. Triton takes the
-- level from `parameters.priority` and from nowhere else (its src/http_server.cc), so a client's own is dropped wherever
-- it stands. What is not edited is not touched: megabytes of numbers are looked through for brackets, and stay where
-- they are.

local ffi = require("ffi")
ffi.cdef("size_t strcspn(const char *text, const char *stops);")

local COMMA = 44
local STOPS = '"{}[]'
local NEAR = 16
local NAME = '"parameters":'
-- More than one member's name, or all parameters, may have; no part of a request is held back for longer.
local MOST_HELD = 65536

local NO_OBJECT = "the body must be a JSON object"
local NO_INPUTS = 'the body must be a KServe v2 request: {"inputs": [{"name", "shape", "datatype", "data"}]}'

local function is_stop(byte)
  return byte == QUOTE or byte == OPEN or byte == CLOSE or byte == OPEN_LIST or byte == CLOSE_LIST
end

-- The next quote or bracket; nil where the text has none. C's search is the fastest over numbers, and slow to begin.
local function next_stop(text, at)
  local length = #text
  local far = at + NEAR
  while at <= length and at < far do
    if is_stop(text:byte(at)) then return at end
    at = at + 1
  end
  if at > length then return nil end
  at = at + tonumber(ffi.C.strcspn(ffi.cast("const char *", text) + (at - 1), STOPS))
  return at <= length and at or nil
end

-- A scan of one request. `place`: the step that goes on where a part ended. `held`: the end of a part that says nothing
-- alone. `fault`: why it is no request. `grown`: bytes that were added.
local function new_scan(level, needs_inputs)
  return {
    parameters = function(value)
      if not value or value:byte(1) ~= OPEN then value = "{}" end
      return with_member(value, "priority", function() return tostring(level) end)
    end,
    needs_inputs = needs_inputs, place = "start", held = "", grown = 0, depth = 0, members = 0,
  }
end

local function fail(scan, why)
  scan.fault = scan.fault or why
end

local function edit(scan, from, to, text)
  scan.edits[#scan.edits + 1] = { from = from, to = to, text = text }
end

-- Each step takes the place in the text where it begins, and gives the one where the next does: nil where the text has
-- to be longer to tell.
local STEPS = {}

function STEPS.start(scan, text, at)
  local open = text:find("%S", at)
  if not open then return #text + 1 end
  if text:byte(open) ~= OPEN then return fail(scan, NO_OBJECT) end
  scan.place = "first"
  return open + 1
end

local function finish(scan, text, at)
  if not scan.written then
    edit(scan, at, at - 1, (scan.members > 0 and "," or "") .. NAME .. scan.parameters(nil))
  end
  scan.place = "over"
  return at + 1
end

function STEPS.first(scan, text, at)
  local next_at = text:find("%S", at)
  if not next_at then return #text + 1 end
  if text:byte(next_at) == CLOSE then return finish(scan, text, next_at) end
  scan.place = "member"
  return next_at
end

function STEPS.after(scan, text, at)
  local next_at = text:find("%S", at)
  if not next_at then return #text + 1 end
  local byte = text:byte(next_at)
  if byte == CLOSE then return finish(scan, text, next_at) end
  if byte ~= COMMA then return fail(scan, NO_OBJECT) end
  scan.place = "member"
  return next_at
end

function STEPS.over(scan, text, at)
  if text:find("%S", at) then return fail(scan, NO_OBJECT) end
  return #text + 1
end

-- The index after a value that ends in this text.
local function whole_value(text, at)
  local finish_at = after_value(text, at)
  return finish_at and finish_at <= #text and finish_at or nil
end

local function write_parameters(scan, text, member, key, value)
  local value_end = whole_value(text, value)
  if not value_end then return nil end
  if scan.written then
    edit(scan, member, value_end - 1, "")
  else
    local written = scan.parameters(text:sub(value, value_end - 1))
    if not written then return fail(scan, NO_OBJECT) end
    edit(scan, key, value_end - 1, NAME .. written)
    scan.written = true
  end
  scan.place = "after"
  return value_end
end

-- From the comma before a member, so that a doubled one can go with it.
function STEPS.member(scan, text, at)
  local comma = text:byte(at) == COMMA
  local key = text:find("%S", comma and at + 1 or at)
  if not key then return nil end
  if text:byte(key) ~= QUOTE or comma ~= (scan.members > 0) then return fail(scan, NO_OBJECT) end
  local key_end = after_string(text, key)
  local value = key_end and text:match("^%s*:%s*()%S", key_end)
  if not value then
    if key_end and not text:find("^%s*:?%s*$", key_end) then fail(scan, NO_OBJECT) end
    return nil
  end
  local name = key_of(text, key, key_end)
  local first = text:byte(value)
  if name == "parameters" then
    local next_at = write_parameters(scan, text, at, key, value)
    if next_at then scan.members = scan.members + 1 end
    return next_at
  end
  if name == "inputs" then
    if scan.needs_inputs and first ~= OPEN_LIST then return fail(scan, NO_INPUTS) end
    scan.needs_inputs, scan.in_inputs = false, scan.needs_inputs
  end
  if is_stop(first) then
    if first == CLOSE or first == CLOSE_LIST then return fail(scan, NO_OBJECT) end
    scan.members, scan.place = scan.members + 1, "within"
    scan.quoted, scan.depth = first == QUOTE, first == QUOTE and 0 or 1
    return value + 1
  end
  local value_end = text:match("^[%w%+%-%.]+()", value)
  if not value_end then return fail(scan, NO_OBJECT) end
  if value_end > #text then return nil end
  scan.members, scan.place = scan.members + 1, "after"
  return value_end
end

local function backslashes_before(text, at, from)
  local before = at
  while before >= from and text:byte(before) == BACKSLASH do before = before - 1 end
  return at - before
end

-- The index after the string that the scan is in; nil where it goes on.
local function leave_string(scan, text, at)
  if at > #text then return nil end
  local from = at
  if scan.escaped then from, scan.escaped = at + 1, false end
  local quote = from - 1
  while true do
    quote = text:find('"', quote + 1, true)
    if not quote then break end
    if backslashes_before(text, quote - 1, from) % 2 == 0 then
      scan.quoted = false
      return quote + 1
    end
  end
  scan.escaped = backslashes_before(text, #text, from) % 2 == 1
end

function STEPS.within(scan, text, at)
  if scan.in_inputs then
    at = text:find("%S", at)
    if not at then return #text + 1 end
    local byte = text:byte(at)
    if byte ~= OPEN and byte ~= CLOSE_LIST then return fail(scan, NO_INPUTS) end
    scan.in_inputs = false
  end
  local depth = scan.depth
  while true do
    if scan.quoted then at = leave_string(scan, text, at) end
    if at and depth == 0 then break end
    at = at and next_stop(text, at)
    if not at then
      scan.depth = depth
      return #text + 1
    end
    local byte = text:byte(at)
    if byte == QUOTE then
      scan.quoted = true
    elseif byte == OPEN or byte == OPEN_LIST then
      depth = depth + 1
    elseif byte == CLOSE or byte == CLOSE_LIST then
      depth = depth - 1
    else
      return fail(scan, NO_OBJECT)
    end
    at = at + 1
  end
  scan.place = "after"
  return at
end

-- The text with its edits, without what is held back from `held` on.
local function with_edits(scan, text, held)
  local parts, at = {}, 1
  for _, one in ipairs(scan.edits) do
    parts[#parts + 1] = text:sub(at, one.from - 1)
    parts[#parts + 1] = one.text
    at = one.to + 1
  end
  parts[#parts + 1] = text:sub(at, held - 1)
  return table.concat(parts)
end

-- What goes on in place of a part; nil where it goes on as it is.
local function scan_part(scan, part)
  local text = scan.held .. part
  local length, at = #text, 1
  scan.edits = {}
  while at <= length do
    local next_at = STEPS[scan.place](scan, text, at)
    if not next_at then break end
    at = next_at
  end
  local before = #scan.held
  scan.held = text:sub(at)
  if #scan.held > MOST_HELD then fail(scan, NO_OBJECT) end
  if scan.fault or (before == 0 and at > length and #scan.edits == 0) then return nil end
  local written = with_edits(scan, text, at)
  scan.grown = scan.grown + #written - #part
  return written
end

-- Why a scan's body is no request, now that all of it has passed; nil where it is one.
local function fault_of_scan(scan)
  if scan.fault then return scan.fault end
  if scan.place ~= "over" then return NO_OBJECT end
  return scan.needs_inputs and NO_INPUTS or nil
end
