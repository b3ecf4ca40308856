"""The tier that gateways beside the private cluster share: the cluster's Redis."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from hiredis import Reader, ReplyError, pack_command

from spillway.contracts.answer_cache import RedisTier

CONNECTIONS: Final = 8
"""A request waits for one."""
_CHUNK: Final = 1 << 16
"""Bytes that are read at once."""


class Redis:
    """GET and SET, in Redis' own protocol as hiredis, which Redis' makers keep, reads and writes it."""

    name = "redis"
    timeout_s = 0.05

    def __init__(self, place: RedisTier, ttl_s: int) -> None:
        self._place, self._ttl_s = place, ttl_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def get(self, key: str) -> bytes | None:
        return await self._ask("GET", key)

    async def put(self, key: str, value: bytes) -> None:
        await self._ask("SET", key, value, "EX", self._ttl_s)

    async def _ask(self, *words: str | bytes | int) -> bytes | None:
        async with self._free:
            place = self._place
            stream = self._idle.pop() if self._idle else await asyncio.open_connection(place.host, place.port)
            try:
                answer = await _exchange(*stream, words)
            except BaseException:
                # What was asked for may still come.
                stream[1].close()
                raise
            self._idle.append(stream)
        if isinstance(answer, ReplyError):
            raise answer
        return answer


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: tuple[str | bytes | int, ...]
) -> Any:
    # The library's stub means a tuple of any length.
    writer.write(pack_command(words))  # pyright: ignore[reportArgumentType]
    answers = Reader()
    while (answer := answers.gets()) is False:
        if not (read := await reader.read(_CHUNK)):
            raise ConnectionResetError("Redis ended the connection")
        answers.feed(read)
    return answer
