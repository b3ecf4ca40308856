"""Takes what Envoy tells of each answer that is over, in fluentd's forward protocol: MessagePack over TCP.

https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1 (forward mode: a tag, then entries of time and
record); https://github.com/msgpack/msgpack/blob/master/spec.md, of which only what Envoy writes is read.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidationError

from spillway.contracts.usage import Usage

LOG = logging.getLogger("spillway.usage")
_NUMBERS: Final = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}
_LENGTHS: Final = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


class UnreadError(ValueError):
    """It is nothing that Envoy writes."""


async def read_value(reader: asyncio.StreamReader) -> Any:
    """The next value. Raises ``asyncio.IncompleteReadError`` at the end, :class:`UnreadError` for what is unknown."""
    kind = (await reader.readexactly(1))[0]
    if kind < 0x80:
        return kind
    if kind >= 0xE0:
        return kind - 0x100
    if kind in _CONSTANTS:
        return _CONSTANTS[kind]
    if kind in _NUMBERS:
        return await _number(reader, _NUMBERS[kind])
    if kind < 0xC0:
        length = kind & (0x1F if kind >= 0xA0 else 0x0F)
    elif kind in _LENGTHS:
        length = int(await _number(reader, _LENGTHS[kind]))
    else:
        raise UnreadError(f"MessagePack's kind {kind:#x} is not read here")
    if 0xA0 <= kind < 0xC0 or kind in (0xD9, 0xDA, 0xDB):
        return (await reader.readexactly(length)).decode(errors="replace")
    if 0x90 <= kind < 0xA0 or kind in (0xDC, 0xDD):
        return [await read_value(reader) for _ in range(length)]
    return {await read_value(reader): await read_value(reader) for _ in range(length)}


async def _number(reader: asyncio.StreamReader, form: str) -> Any:
    return struct.unpack(form, await reader.readexactly(struct.calcsize(form)))[0]


async def serve(port: int, take: Callable[[Usage], None]) -> asyncio.Server:
    """Hands each record on. What cannot be read ends the connection, which Envoy opens again."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                _tag, entries, *_ = await read_value(reader)
                for _time, record in entries:
                    _take(record, take)
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            # At an end that is not Envoy's: asyncio reports a connection whose task is cancelled as an error.
            pass
        except (UnreadError, TypeError) as error:
            LOG.warning("the usage log could not be read: %s", error)
        finally:
            writer.close()

    return await asyncio.start_server(listen, "127.0.0.1", port)


def _take(record: Any, take: Callable[[Usage], None]) -> None:
    try:
        take(Usage.model_validate(record))
    except ValidationError as error:
        LOG.warning("a record of the usage log is none: %s", error.errors(include_input=False, include_url=False))
