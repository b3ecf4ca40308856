-- CRC-32 of a string (RFC 1952, section 8), as gzip has it; four bytes at a time, for megabytes of tensors. `before`: that
-- of what stands in front of it.
local band, bxor, rshift = bit.band, bit.bxor, bit.rshift

local T0, T1, T2, T3 = {}, {}, {}, {}
for i = 0, 255 do
  local value = i
  for _ = 1, 8 do
    local half = rshift(value, 1)
    value = band(value, 1) == 1 and bxor(half, 0xEDB88320) or half
  end
  T0[i] = value
end
for i = 0, 255 do
  T1[i] = bxor(rshift(T0[i], 8), T0[band(T0[i], 255)])
  T2[i] = bxor(rshift(T1[i], 8), T0[band(T1[i], 255)])
  T3[i] = bxor(rshift(T2[i], 8), T0[band(T2[i], 255)])
end

local function crc32(text, before)
  local crc, length = bit.bnot(before or 0), #text
  local whole = length - length % 4
  for at = 1, whole, 4 do
    local a, b, c, d = text:byte(at, at + 3)
    crc = bxor(
      T3[band(bxor(crc, a), 255)],
      T2[band(bxor(rshift(crc, 8), b), 255)],
      T1[band(bxor(rshift(crc, 16), c), 255)],
      T0[bxor(rshift(crc, 24), d)]
    )
  end
  for at = whole + 1, length do crc = bxor(T0[band(bxor(crc, text:byte(at)), 255)], rshift(crc, 8)) end
  return bit.bnot(crc) % 4294967296
end
