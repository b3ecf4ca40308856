"""Takes what Envoy tells of each answer that is over, in fluentd's forward protocol: MessagePack over TCP.

https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1 (forward mode: a tag, then entries of time and
record); https://github.com/msgpack/msgpack/blob/master/spec.md, of which only what Envoy writes is read.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from pydantic import ValidationError

from spillway.contracts.usage import Usage

LOG = logging.getLogger("spillway.usage")
_NUMBERS: Final = {
    kind: struct.Struct(form)
    for kind, form in {
        0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
        0xD3: ">q",
    }.items()
}  # fmt: skip
_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}
_LENGTHS: Final = {
    kind: struct.Struct(form)
    for kind, form in {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}.items()
}
_READ_AT_ONCE: Final = 1 << 16
_MOST_HELD: Final = 1 << 24
"""Of a message that has not ended; Envoy's have 16 KiB and one record (``buffer_size_bytes``)."""


class UnreadError(ValueError):
    """It is nothing that Envoy writes."""


class CutError(ValueError):
    """It goes on where this text ends."""


def read_value(data: bytes, at: int = 0) -> tuple[Any, int]:
    """The value that begins there, and where it ends. Raises :class:`CutError` where it does not end in this text,
    :class:`UnreadError` for what is unknown.

    Plain calls over what has come: a reader that waits for each byte takes more than twice as long, and what the agent
    takes is missed by the requests that Envoy works on beside it.
    """
    try:
        return _value(data, at)
    except (IndexError, struct.error):
        raise CutError from None


def _value(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 0x100, at
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if number := _NUMBERS.get(kind):
        return number.unpack_from(data, at)[0], at + number.size
    if kind < 0xC0:
        length = kind & (0x1F if kind >= 0xA0 else 0x0F)
    elif form := _LENGTHS.get(kind):
        length, at = form.unpack_from(data, at)[0], at + form.size
    else:
        raise UnreadError(f"MessagePack's kind {kind:#x} is not read here")
    if 0xA0 <= kind < 0xC0 or kind in (0xD9, 0xDA, 0xDB):
        end = at + length
        if end > len(data):
            raise IndexError
        return data[at:end].decode(errors="replace"), end
    if 0x90 <= kind < 0xA0 or kind in (0xDC, 0xDD):
        return _values(data, at, length)
    found, at = _values(data, at, 2 * length)
    return dict(zip(found[::2], found[1::2], strict=True)), at


def _values(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(count):
        value, at = _value(data, at)
        found.append(value)
    return found, at


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """To the end of the connection."""
    held = b""
    while part := await reader.read(_READ_AT_ONCE):
        held, at = held + part, 0
        while at < len(held):
            try:
                message, at = read_value(held, at)
            except CutError:
                break
            yield message
        held = held[at:]
        if len(held) > _MOST_HELD:
            raise UnreadError("a message does not end")


async def serve(port: int, take: Callable[[Usage], None]) -> asyncio.Server:
    """Hands each record on. What cannot be read ends the connection, which Envoy opens again."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for _tag, entries, *_ in _messages(reader):
                for _time, record in entries:
                    _take(record, take)
        except (ConnectionError, asyncio.CancelledError):
            # At an end that is not Envoy's: asyncio reports a connection whose task is cancelled as an error.
            pass
        except (TypeError, ValueError) as error:
            LOG.warning("the usage log could not be read: %s", error)
        finally:
            writer.close()

    return await asyncio.start_server(listen, "127.0.0.1", port)


def _take(record: Any, take: Callable[[Usage], None]) -> None:
    try:
        take(Usage.model_validate(record))
    except ValidationError as error:
        LOG.warning("a record of the usage log is none: %s", error.errors(include_input=False, include_url=False))
