"""A small HTTP/1.1 client for load: keep-alive, one write per request, nothing shared between requests.

Libraries write headers and body in two sends; through a proxy on loopback that alone costs about 45 ms (delayed
acknowledgements), which is more than the answers that are measured here take.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from spillway.drill.resolver import Resolver

_LIMIT: Final = 1 << 20

Take = Callable[[bytes], None]


class HttpError(Exception):
    """The connection could not be made, broke, or did not speak HTTP."""


@dataclass(frozen=True)
class Reply:
    """``headers``: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        self.reader = reader
        self.writer = writer
        self.address = address
        self.used = False

    @property
    def open(self) -> bool:
        return not (self.writer.is_closing() or self.reader.at_eof())

    async def exchange(self, message: bytes, take: Take | None = None) -> tuple[Reply, bool]:
        """The reply, and whether the connection can be used again. ``take``: gets the body's parts as they come."""
        self.writer.write(message)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        body = await self._body(headers, take)
        self.used = True
        return Reply(status, headers, body), headers.get("connection", "").lower() != "close"

    async def _body(self, headers: dict[str, str], take: Take | None) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks(take)
        return await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def _chunks(self, take: Take | None) -> bytes:
        parts = []
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            parts.append(await self.reader.readexactly(size))
            if take:
                take(parts[-1])
            await self.reader.readline()
        await self.reader.readline()
        return b"".join(parts)


class Client:
    """Requests to one origin. Opens as many connections as there are requests at once, and keeps them as long as the
    origin's name has their address, which ``resolver`` says; the system once for each connection without one."""

    def __init__(self, origin: str, resolver: Resolver | None = None) -> None:
        self._resolver = resolver
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HttpError(f"{origin!r} is no address of a gateway: it has to begin with http:// or https://")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._authority = parts.netloc
        self._idle: deque[_Connection] = deque()

    async def post(self, path: str, headers: dict[str, str], body: bytes, take: Take | None = None) -> Reply:
        """``take``: gets the parts of a chunked answer as they come. A kept connection that the other side had closed
        meanwhile is replaced once. Raises :class:`HttpError`."""
        lines = (f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nhost: {self._authority}\r\ncontent-length: {len(body)}\r\n{''.join(lines)}\r\n"
        message = head.encode("latin-1") + body
        while True:
            connection = await self._connection()
            try:
                reply, reusable = await connection.exchange(message, take)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
                connection.writer.close()
                stale = connection.used and isinstance(error, asyncio.IncompleteReadError) and not error.partial
                if stale:
                    continue
                raise HttpError(f"{type(error).__name__}: {error}") from None
            except BaseException:
                # A cancelled request leaves its answer on the wire.
                connection.writer.close()
                raise
            if reusable:
                self._idle.append(connection)
            else:
                connection.writer.close()
            return reply

    async def close(self) -> None:
        for connection in self._idle:
            connection.writer.close()
        self._idle.clear()

    async def _connection(self) -> _Connection:
        try:
            address = await self._resolver.address() if self._resolver else self._host
            while self._idle:
                kept = self._idle.pop()
                if kept.open and kept.address == address:
                    return kept
                kept.writer.close()
            name = self._host if self._tls else None
            reader, writer = await asyncio.open_connection(
                address, self._port, ssl=self._tls, server_hostname=name, limit=_LIMIT
            )
        except OSError as error:
            raise HttpError(f"cannot connect to {self._authority}: {error}") from None
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Connection(reader, writer, address)
