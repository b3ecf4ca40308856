"""A filter that holds an answer's headers until its first byte is there, and marks a stream that begins with an error.

vLLM sends the headers of a stream before it has a token. Envoy would take that for an answer that has begun, after
which no other site can be asked; held back, it is one that has not, and the limit of a try is the limit of the first
token. Its queue may be found full after the headers, too: then a stream's first and only event is the error.

A stream of responses says first that it was created and that it is in progress, with the request's settings in both,
and only its third event has a token (``responses_stream_generator`` in vLLM 0.30's
``entrypoints/openai/responses/serving.py``). So of these the first two are held, too.

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
NAMED: Final = b"event: r"
"""So begins a stream of responses. Each of its events has a name, one line of JSON and an empty line."""
LINES_AHEAD: Final = 6
"""Of the two events that say nothing yet."""

PAGE: Final = 1 << 16
RESULT, WORDS, HELD, ROOM = 256, 2048, 4096, PAGE
"""Places in the module's memory: where the host says what it gives, the header's words, the streams whose headers are
held (by the lowest bits of their number: one that another overwrites goes on unmarked), and what the host gives."""
STREAMS: Final = 1024
MOST: Final = 4 * PAGE
"""Bytes of a beginning that are looked at: a longer one is not held."""
BODY, HEADERS = 1, 2
"""The host's numbers for the body and the headers of a response."""


class Function(NamedTuple):
    """An exported function of 32-bit integers. ``code``: its instructions, without the closing ``end``."""

    name: str
    parameters: int
    results: int
    code: bytes
    variables: int = 0


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
IF, LOOP, END, RETURN, DROP = b"\x04" + NOTHING, b"\x03" + NOTHING, b"\x0b", b"\x0f", b"\x1a"
EQZ, EQ, EQ_LONG, ADD, AND, SHIFT_LEFT = b"\x45", b"\x46", b"\x51", b"\x6a", b"\x71", b"\x74"
LESS, NOT_MORE, SELECT = b"\x49", b"\x4d", b"\x1b"
LOAD, LOAD_BYTE, LOAD_LONG, STORE = b"\x28\x02\x00", b"\x2d\x00\x00", b"\x29\x00\x00", b"\x36\x02\x00"


def _const(value: int) -> bytes:
    return b"\x41" + _signed(value)


def _text(characters: bytes) -> bytes:
    """Eight characters as a 64-bit constant."""
    return b"\x42" + _signed(int.from_bytes(characters, "little", signed=True))


def _get(index: int) -> bytes:
    """A parameter, or behind these a variable."""
    return b"\x20" + _unsigned(index)


def _set(index: int) -> bytes:
    return b"\x21" + _unsigned(index)


def _again(depth: int) -> bytes:
    """To the beginning of the loop that is so many blocks further out."""
    return b"\x0c" + _unsigned(depth)


def _call(index: int) -> bytes:
    return b"\x10" + _unsigned(index)


IMPORTS: Final = ("proxy_get_buffer_bytes", "proxy_add_header_map_value")
"""Each takes five integers and gives one: 0 is good."""

STREAM, SIZE, LAST = _get(0), _get(1), _get(2)
"""What the host says of a body: whose, how much of it is here, and whether that is all."""
AT, LINES = 3, 4
GOT: Final = _const(RESULT + 4) + LOAD

# Where it is kept that this stream's headers are held.
_SEAT = STREAM + _const(STREAMS - 1) + AND + _const(2) + SHIFT_LEFT + _const(HELD) + ADD
_READ = (
    _const(BODY) + _const(0)
    + SIZE + _const(MOST) + SIZE + _const(MOST) + LESS + SELECT
    + _const(RESULT) + _const(RESULT + 4) + _call(0)
)  # fmt: skip
_MARK = b"".join(map(_const, (HEADERS, WORDS, len(FAILED_HEADER), WORDS + len(FAILED_HEADER), 4))) + _call(1) + DROP
_HERE = _const(ROOM) + _get(AT) + ADD
# Enough of the event at AT to know whether it is an error.
_KNOWN = _get(AT) + _const(len(BEGINNING)) + ADD + GOT + NOT_MORE
# The beginning is 14 characters: the first eight, and the last eight.
_IS_ERROR = (
    _KNOWN
    + _HERE + LOAD_LONG + _text(BEGINNING[:8]) + EQ_LONG + AND
    + _HERE + _const(len(BEGINNING) - 8) + ADD + LOAD_LONG + _text(BEGINNING[-8:]) + EQ_LONG + AND
)  # fmt: skip
_SKIP_EVENTS = (
    LOOP + _get(LINES) + _const(LINES_AHEAD) + LESS + _get(AT) + GOT + LESS + AND + IF
    + _HERE + LOAD_BYTE + _const(ord("\n")) + EQ + _get(LINES) + ADD + _set(LINES)
    + _get(AT) + _const(1) + ADD + _set(AT) + _again(1)
    + END + END
)  # fmt: skip
_WAIT = _const(1) + RETURN

FUNCTIONS: Final = (
    Function("proxy_abi_version_0_2_1", 0, 0, b""),
    Function("proxy_on_memory_allocate", 1, 1, _const(ROOM)),
    # Headers that are the whole answer go on (0). Others wait (1).
    Function(
        "proxy_on_response_headers",
        3,
        1,
        LAST + IF + _const(0) + RETURN + END + _SEAT + STREAM + STORE + _const(1),
    ),
    # The first part of a body that says something lets them go, in front of itself.
    Function(
        "proxy_on_response_body",
        3,
        1,
        _SEAT + LOAD + STREAM + EQ + IF
        + SIZE + EQZ + LAST + EQZ + AND + IF + _WAIT + END
        + _READ + EQZ + IF
        + _const(ROOM) + LOAD_LONG + _text(NAMED) + EQ_LONG + IF + _SKIP_EVENTS + END
        + _KNOWN + EQZ + LAST + EQZ + AND + SIZE + _const(MOST) + NOT_MORE + AND + IF + _WAIT + END
        + _IS_ERROR + IF + _MARK + END
        + END
        + _SEAT + _const(0) + STORE
        + END + _const(0),
        variables=2,
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
        # One more than it is given: what is behind the last byte is looked at, too.
        5: [b"\x00" + _unsigned((ROOM + MOST) // PAGE + 1)],
        7: exports,
        10: [_sized(_vector([_unsigned(each.variables) + I32]) + each.code + END) for each in FUNCTIONS],
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
