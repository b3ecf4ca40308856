"""A filter that holds an answer's headers until its first byte is there, and marks a stream that begins with an error.

vLLM sends the headers of a stream before it has a token. Envoy would take that for an answer that has begun, after
which no other site can be asked; held back, it is one that has not, and the limit of a try is the limit of the first
token. Its queue may be found full after the headers, too: then a stream's first and only event is the error.

Lua cannot do it: its filter lets headers go when a script waits for a part of the body. So this is a WebAssembly module
of four functions, assembled here (docs/decisions/0042-headers-wait-for-the-first-token.md).

Its calls: https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1; its form:
https://webassembly.github.io/spec/core/binary/modules.html.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final, NamedTuple

from components.gateway.envoy_parts import Json, extension

NAME: Final = "first_byte"
FAILED_HEADER: Final = "x-spillway-failed-stream"
"""On an answer whose first event is an error; the site's Lua filter makes the answer that it should have been."""
BEGINNING: Final = b'data: {"error"'

RESULT, ROOM, WORDS, HELD = 256, 1024, 2048, 4096
"""Places in the module's memory: where the host says what it gives, what it gives, the header's words, and the streams
whose headers are held (by the lowest bits of their number: one that another overwrites goes on unmarked)."""
STREAMS: Final = 1024
BODY, HEADERS = 1, 2
"""The host's numbers for the body and the headers of a response."""


class Function(NamedTuple):
    """An exported function of 32-bit integers. ``code``: its instructions, without the closing ``end``."""

    name: str
    parameters: int
    results: int
    code: bytes


def _unsigned(value: int) -> bytes:
    """LEB128."""
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _signed(value: int) -> bytes:
    """LEB128 in two's complement."""
    digits = bytearray()
    while not -0x40 <= value < 0x40:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value & 0x7F)
    return bytes(digits)


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _vector(items: Sequence[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _name(text: str) -> bytes:
    return _sized(text.encode())


# Instructions.
I32, I64, NOTHING = b"\x7f", b"\x7e", b"\x40"
IF, END, RETURN, DROP = b"\x04" + NOTHING, b"\x0b", b"\x0f", b"\x1a"
EQZ, EQ, EQ_LONG, ADD, AND, SHIFT_LEFT = b"\x45", b"\x46", b"\x51", b"\x6a", b"\x71", b"\x74"
LOAD, LOAD_LONG, STORE = b"\x28\x02\x00", b"\x29\x00\x00", b"\x36\x02\x00"


def _const(value: int) -> bytes:
    return b"\x41" + _signed(value)


def _text(characters: bytes) -> bytes:
    """Eight characters as a 64-bit constant."""
    return b"\x42" + _signed(int.from_bytes(characters, "little", signed=True))


def _parameter(index: int) -> bytes:
    return b"\x20" + _unsigned(index)


def _call(index: int) -> bytes:
    return b"\x10" + _unsigned(index)


IMPORTS: Final = ("proxy_get_buffer_bytes", "proxy_add_header_map_value")
"""Each takes five integers and gives one: 0 is good."""

# Where it is kept that this stream's headers are held.
_SEAT = _parameter(0) + _const(STREAMS - 1) + AND + _const(2) + SHIFT_LEFT + _const(HELD) + ADD
_READ = b"".join(map(_const, (BODY, 0, len(BEGINNING), RESULT, RESULT + 4))) + _call(0)
_MARK = b"".join(map(_const, (HEADERS, WORDS, len(FAILED_HEADER), WORDS + len(FAILED_HEADER), 4))) + _call(1) + DROP
# The host allocates at ROOM. The beginning is 14 characters: the first eight, and the last eight.
_IS_ERROR = (
    _const(RESULT + 4) + LOAD + _const(len(BEGINNING)) + EQ
    + _const(ROOM) + LOAD_LONG + _text(BEGINNING[:8]) + EQ_LONG + AND
    + _const(ROOM + len(BEGINNING) - 8) + LOAD_LONG + _text(BEGINNING[-8:]) + EQ_LONG + AND
)  # fmt: skip

FUNCTIONS: Final = (
    Function("proxy_abi_version_0_2_1", 0, 0, b""),
    Function("proxy_on_memory_allocate", 1, 1, _const(ROOM)),
    # Headers that are the whole answer go on (0). Others wait (1).
    Function(
        "proxy_on_response_headers",
        3,
        1,
        _parameter(2) + IF + _const(0) + RETURN + END + _SEAT + _parameter(0) + STORE + _const(1),
    ),
    # The first part of a body that is not empty lets them go, in front of itself.
    Function(
        "proxy_on_response_body",
        3,
        1,
        _SEAT + LOAD + _parameter(0) + EQ + IF
        + _parameter(1) + EQZ + _parameter(2) + EQZ + AND + IF + _const(1) + RETURN + END
        + _SEAT + _const(0) + STORE
        + _READ + EQZ + IF + _IS_ERROR + IF + _MARK + END + END
        + END + _const(0),
    ),
)  # fmt: skip


def module() -> bytes:
    """The module in WebAssembly's binary form."""
    host = b"\x60" + _vector([I32] * 5) + _vector([I32])
    types = [host, *(b"\x60" + _vector([I32] * each.parameters) + _vector([I32] * each.results) for each in FUNCTIONS)]
    exports = [_name("memory") + b"\x02\x00"]
    exports += [_name(each.name) + b"\x00" + _unsigned(len(IMPORTS) + at) for at, each in enumerate(FUNCTIONS)]
    words = b"\x00" + _const(WORDS) + END + _sized(FAILED_HEADER.encode() + b"true")
    sections = {
        1: types,
        2: [_name("env") + _name(each) + b"\x00\x00" for each in IMPORTS],
        3: [_unsigned(1 + at) for at in range(len(FUNCTIONS))],
        5: [b"\x00\x01"],
        7: exports,
        10: [_sized(_vector([]) + each.code + END) for each in FUNCTIONS],
        11: [words],
    }
    return b"\0asm\x01\0\0\0" + b"".join(bytes([kind]) + _sized(_vector(items)) for kind, items in sections.items())


def first_byte() -> Json:
    """The filter. All that Envoy runs of it on one thread is one small virtual machine."""
    code = {"local": {"inline_bytes": base64.b64encode(module()).decode()}}
    return extension(
        "envoy.filters.http.wasm",
        "extensions.filters.http.wasm.v3.Wasm",
        config={
            "name": NAME,
            "vm_config": {"vm_id": NAME, "runtime": "envoy.wasm.runtime.v8", "code": code},
            # Without it a pause stops the body, too, and nothing would ever go on.
            "allow_on_headers_stop_iteration": True,
        },
    )
