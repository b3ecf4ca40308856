"""The relay that makes a model server slow, or answer errors."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from spillway.drill.http import Client
from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.data_plane.processes.fault_proxy import serve


async def _answer(_: web.Request) -> web.Response:
    return web.Response(text="well")


async def _statuses(order: dict[str, float], count: int, path: str) -> list[int]:
    """Of so many requests, one after the other, after an order."""
    port, upstream, control = free_port(), free_port(), free_port()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", upstream).start()
    relay = asyncio.create_task(serve(port, upstream, control))
    try:
        await _ordered(f"http://127.0.0.1:{control}/fault", order)
        client = Client(f"http://127.0.0.1:{port}")
        found = [(await client.post(path, {}, b"{}")).status for _ in range(count)]
        await client.close()
        return found
    finally:
        relay.cancel()
        await runner.cleanup()


async def _ordered(url: str, order: dict[str, float]) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.put(url, json=order) as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(("share", "refused"), [(0.1, 3), (0.5, 15), (1.0, 30)])
def test_a_share_of_inference_fails_and_no_other_request(share: float, refused: int) -> None:
    order = {"status": 500, "share": share}
    found = asyncio.run(_statuses(order, 30, "/v2/models/m/infer"))
    assert (found.count(500), found.count(200)) == (refused, 30 - refused)
    assert asyncio.run(_statuses(order, 3, "/v2/health/ready")) == [200] * 3
