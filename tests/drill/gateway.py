"""A small gateway for tests of the drill: three sites, and it fails on cue."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from spillway.twin.data_plane.processes.child import free_port


class FakeGateway:
    """``spills``: whether requests go on to the next site when one is out. ``outage_s``: how long after a kill requests
    fail with 503 even so. ``wrong``: sites that answer another model's vector. Orders come as from a drill."""

    def __init__(self, spills: bool = True, outage_s: float = 0.0, wrong: tuple[str, ...] = ()) -> None:
        self.spills, self.outage_s, self.wrong = spills, outage_s, wrong
        self.slots = {"private": 1000, "sagemaker": 1000, "azure_ml": 1000}
        self.service_s = 0.0
        self.orders: list[tuple[str, str]] = []
        self.hits = 0
        self._busy = dict.fromkeys(self.slots, 0)
        self._down: dict[str, float] = {}

    def fault(self, group: str, action: str, **options: float) -> None:
        self.orders.append((group, action))
        if action in ("kill", "hang"):
            self._down[group] = time.monotonic()
        elif action in ("start", "resume"):
            self._down.pop(group, None)

    async def handle(self, request: web.Request) -> web.Response:
        self.hits += 1
        asked = await request.json()
        out = [at for at in self._down.values() if time.monotonic() - at < self.outage_s]
        sites = [site for site in self.slots if site not in self._down and self._busy[site] < self.slots[site]]
        if out or not sites or (not self.spills and self._down):
            return web.json_response({"error": "no site"}, status=503)
        site = sites[0]
        self._busy[site] += 1
        try:
            await asyncio.sleep(self.service_s)
        finally:
            self._busy[site] -= 1
        text = asked["inputs"][0]["data"][0]
        vector = [float(len(text)) / 100, 1.0, -1.0 if site in self.wrong else 1.0]
        data = [text] if request.match_info["model"] == "echo" else vector
        body = json.dumps({"outputs": [{"name": "EMBEDDING", "data": data}]}).encode()
        return web.Response(body=body, headers={"x-spillway-site": site})


@contextmanager
def serve(gateway: FakeGateway, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The gateway on a thread of its own; yields its address."""
    loop = asyncio.new_event_loop()
    port = port or free_port()
    ready = threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v2/models/{model}/infer", gateway.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        ready.set()
        return runner

    def work() -> None:
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        yield f"http://{host}:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
