"""A TCP relay in front of a model server that can make it slow or make it answer errors, for drills.

Killing and hanging need no proxy (the processes get the signal). Slowness and errors are things that a healthy Triton
will not do on request, so they are done here. Orders come on a second port: ``PUT /fault`` with ``{"delay_s": 3}``,
``{"status": 500, "share": 0.5}`` or ``{}`` (heal). Health routes stay good while inference fails: the harder case for a
gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections import deque
from dataclasses import dataclass

from aiohttp import web

_INFERENCE = (b"/infer", b"/generate", b"/invocations", b"/v1/")


@dataclass
class Fault:
    """The order in force: seconds added to each answer, and the status that a share of inference gets (0: none)."""

    delay_s: float = 0.0
    status: int = 0
    share: float = 1.0
    _due: float = 0.0

    def refuses(self) -> bool:
        """Whether the next request is one of the share, which is met without chance."""
        if not self.status:
            return False
        self._due += self.share
        # Ten times a tenth are a hair less than one.
        refused = self._due > 1 - 1e-9
        self._due -= refused
        return refused


class _Upstream(asyncio.Protocol):
    """The model server's side: hands its bytes to the client, late if so ordered, always in order."""

    def __init__(self, client: asyncio.Transport, fault: Fault) -> None:
        self._client = client
        self._fault = fault
        self._held: deque[bytes] = deque()

    def data_received(self, data: bytes) -> None:
        if not self._fault.delay_s and not self._held:
            self._client.write(data)
            return
        self._held.append(data)
        asyncio.get_running_loop().call_later(self._fault.delay_s, self._release)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._held:
            self._client.close()

    def _release(self) -> None:
        self._client.write(self._held.popleft())


class _Client(asyncio.Protocol):
    """The gateway's side. Each connection has one of its own to the model server."""

    def __init__(self, upstream: tuple[str, int], fault: Fault) -> None:
        self._address = upstream
        self._fault = fault
        self._early: list[bytes] = []
        self._upstream: asyncio.Transport | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connecting = asyncio.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if _is_inference(data) and self._fault.refuses():
            self._refuse()
        elif self._upstream is None:
            self._early.append(data)
        else:
            self._upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connecting.cancel()
        if self._upstream:
            self._upstream.close()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            upstream, _ = await loop.create_connection(lambda: _Upstream(self._transport, self._fault), *self._address)
        except OSError:
            self._transport.abort()
            return
        self._upstream = upstream
        for data in self._early:
            upstream.write(data)
        self._early.clear()

    def _refuse(self) -> None:
        body = json.dumps({"error": "injected by the drill"}).encode()
        head = f"HTTP/1.1 {self._fault.status} Injected\r\nconnection: close\r\ncontent-type: application/json\r\n"
        self._transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        # Closing with unread bytes would reset the connection and lose the answer: read on for a moment.
        self._refused = True
        asyncio.get_running_loop().call_later(1.0, self._transport.close)


def _is_inference(data: bytes) -> bool:
    line, _, _ = data.partition(b"\r\n")
    return line.startswith(b"POST ") and any(path in line for path in _INFERENCE)


def _orders(fault: Fault) -> web.Application:
    async def order(request: web.Request) -> web.Response:
        wanted = await request.json()
        fault.delay_s = float(wanted.get("delay_s", 0.0))
        fault.status = int(wanted.get("status", 0))
        fault.share = float(wanted.get("share", 1.0))
        return web.json_response({"delay_s": fault.delay_s, "status": fault.status})

    app = web.Application()
    app.router.add_put("/fault", order)
    return app


async def serve(port: int, upstream_port: int, control_port: int) -> None:
    """Relay ``port`` to ``upstream_port`` on loopback until cancelled."""
    fault = Fault()
    runner = web.AppRunner(_orders(fault), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", control_port).start()
    upstream = ("127.0.0.1", upstream_port)
    server = await asyncio.get_running_loop().create_server(lambda: _Client(upstream, fault), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream-port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(args.port, args.upstream_port, args.control_port))


if __name__ == "__main__":
    main()
