-- SHA-256 of a short string, as lower-case hexadecimal (FIPS 180-4). Envoy's Lua has no digest of its own.
local band, bnot, bxor, ror, rshift, tobit, tohex = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit, bit.tohex

local K = {}
local START = {}
do
  local function fraction(x) return tobit(math.floor((x % 1) * 4294967296)) end
  local found, candidate = 0, 2
  while found < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      if candidate % divisor == 0 then prime = false break end
    end
    if prime then
      found = found + 1
      K[found] = fraction(candidate ^ (1 / 3))
      if found <= 8 then START[found] = fraction(math.sqrt(candidate)) end
    end
    candidate = candidate + 1
  end
end

local function sha256(text)
  local length = #text
  local padded = text .. "\128" .. string.rep("\0", (55 - length) % 64) .. "\0\0\0\0"
    .. string.char(band(rshift(length * 8, 24), 255), band(rshift(length * 8, 16), 255),
                   band(rshift(length * 8, 8), 255), band(length * 8, 255))
  local hash = { unpack(START) }
  local w = {}
  for chunk = 1, #padded, 64 do
    for i = 0, 15 do
      local a, b, c, d = padded:byte(chunk + i * 4, chunk + i * 4 + 3)
      w[i] = tobit(a * 16777216 + b * 65536 + c * 256 + d)
    end
    for i = 16, 63 do
      local x, y = w[i - 15], w[i - 2]
      local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
      local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
      w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
    end
    local a, b, c, d, e, f, g, h = unpack(hash)
    for i = 0, 63 do
      local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
      local choice = bxor(band(e, f), band(bnot(e), g))
      local t1 = tobit(h + s1 + choice + K[i + 1] + w[i])
      local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
      local majority = bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + s0 + majority)
    end
    local rounds = { a, b, c, d, e, f, g, h }
    for i = 1, 8 do hash[i] = tobit(hash[i] + rounds[i]) end
  end
  for i = 1, 8 do hash[i] = tohex(hash[i]) end
  return table.concat(hash)
end
