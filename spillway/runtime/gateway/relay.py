"""Between the front and the sites, for streams of classes that want it: one that breaks goes on elsewhere where that
is exact, and ends with an error event where it is not. Envoy cannot do it: for it a stream that broke is over.

It asks Envoy's own inner listener, so that sites are chosen, counted and signed for as ever. What is no stream, or was
refused, passes as it is. A stream goes on once, from the far end of the sites, as any request over which a server
failed: it may be what took the server down.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
from aiohttp import web

from spillway.contracts.routing import RoutingTable
from spillway.contracts.server_routes import CHAT_PATH
from spillway.runtime.gateway.continuation import (
    COMPLETION_PATH,
    BrokenError,
    Chat,
    broken_event,
    is_exact,
    with_ids,
)

LOG = logging.getLogger("spillway.relay")
OF_A_CONNECTION: Final = ("host", "content-length", "connection", "transfer-encoding", "keep-alive")
END: Final = b"\n\n"
ATTEMPT_HEADER: Final = "x-envoy-attempt-count"
"""By which the level behind tells a second attempt (``components/gateway/envoy_generation.py``)."""


class Relay:
    """Belongs to one event loop."""

    def __init__(self, table: RoutingTable) -> None:
        self._base = f"http://127.0.0.1:{table.listen.inner_port}"
        self._most_bytes = table.body_limit_bytes + (1 << 16)
        self._session: aiohttp.ClientSession | None = None
        self.continued = 0
        """Streams that went on elsewhere."""
        self.broken = 0
        """Streams that ended with an error event."""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self._most_bytes)
        app.cleanup_ctx.append(self._client)
        app.router.add_post("/{path:.*}", self._handle)
        return app

    async def _client(self, _: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        ) as session:
            self._session = session
            yield

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in OF_A_CONNECTION}
        asked = _object(body)
        chat = Chat(asked, exact=request.path == CHAT_PATH and is_exact(asked))
        sent = json.dumps(with_ids(asked)).encode() if chat.exact else body
        async with self._ask(request.path, sent, headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in OF_A_CONNECTION}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if answer.status != 200 or not answer.content_type.endswith("event-stream"):
                async for part in answer.content.iter_any():
                    await response.write(part)
            else:
                await self._stream(answer, chat, response, headers)
        await response.write_eof()
        return response

    def _ask(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        assert self._session is not None
        return self._session.post(f"{self._base}{path}", data=body, headers=headers)

    async def _stream(
        self, answer: aiohttp.ClientResponse, chat: Chat, response: web.StreamResponse, headers: dict[str, str]
    ) -> None:
        try:
            await self._pass(answer, chat.take, response)
            if not await self._ended(chat, response):
                await self._go_on(chat, response, headers)
                if not await self._ended(chat, response):
                    raise BrokenError("it broke there, too")
        except BrokenError as error:
            self.broken += 1
            LOG.warning("a stream broke: %s", error)
            await response.write(_data(broken_event(str(error))))

    async def _ended(self, chat: Chat, response: web.StreamResponse) -> bool:
        for event in [] if chat.done else chat.end():
            await response.write(_data(event))
        return chat.done

    async def _go_on(self, chat: Chat, response: web.StreamResponse, headers: dict[str, str]) -> None:
        rest = json.dumps(chat.rest()).encode()
        async with self._ask(COMPLETION_PATH, rest, {**headers, ATTEMPT_HEADER: "2"}) as answer:
            if answer.status != 200:
                raise BrokenError(f"no site takes the rest of it ({answer.status})")
            self.continued += 1
            await self._pass(answer, chat.take_completion, response)

    async def _pass(
        self, answer: aiohttp.ClientResponse, take: Callable[[str], str], response: web.StreamResponse
    ) -> None:
        """To its end, or to where it breaks: by its connection, or by an event that says so."""
        try:
            async for event in events(answer.content):
                await response.write(_data(take(event)))
        except (aiohttp.ClientError, BrokenError) as error:
            LOG.info("a site's stream broke: %s", error)

    def metrics(self) -> list[str]:
        """Lines for Prometheus."""
        return [f"spillway_streams_continued_total {self.continued}", f"spillway_streams_broken_total {self.broken}"]


async def events(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """The data of whole events; one that is cut is none."""
    rest = b""
    async for part in content.iter_any():
        *whole, rest = (rest + part).split(END)
        for event in whole:
            yield event.decode().removeprefix("data:").strip()


def _data(event: str) -> bytes:
    return b"data: " + event.encode() + END


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
