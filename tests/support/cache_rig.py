"""A gateway whose answers are kept: a real Envoy, the cache's service on the rig's loop, and what its tiers are."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from aiohttp import web

from spillway.contracts.answer_cache import AnswerCache, RedisTier
from spillway.contracts.classes import RequestClass
from spillway.contracts.routing import Anonymous, RoutingTable
from spillway.runtime.cache.cache_service import CacheService
from spillway.twin import tools
from spillway.twin.data_plane.processes.child import free_port
from tests.support.gateway_rig import Rig
from tests.support.waiting import eventually


@contextmanager
def redis_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real one, as the twin starts it."""
    command = [str(tools.redis_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen([*command, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
    try:
        tier = RedisTier(host="127.0.0.1", port=port)
        eventually(lambda: _answers(tier), within_s=20, what="Redis answers")
        yield process
    finally:
        process.kill()
        process.wait(10)


def _answers(place: RedisTier) -> bool:
    async def ask() -> bool:
        try:
            _, writer = await asyncio.open_connection(place.host, place.port)
        except OSError:
            return False
        writer.close()
        return True

    return asyncio.run(ask())


class CacheRig(Rig):
    """``cache``: of the routing table. Callers without a key may send P0."""

    def __init__(self, folder: Path, cache: AnswerCache, slots: int = 32) -> None:
        def cached(table: RoutingTable) -> RoutingTable:
            sites = tuple(route.model_copy(update={"slots": slots}) for route in table.sites)
            anonymous = Anonymous(max_class=RequestClass.P0)
            return table.model_copy(update={"cache": cache, "sites": sites, "anonymous": anonymous})

        super().__init__(folder, cached)
        self.cache = CacheService(self.table, cache)
        self._serving: web.AppRunner | None = None

    async def _start_servers(self) -> None:
        await super()._start_servers()
        await self.serve_cache()

    async def serve_cache(self) -> None:
        self._serving = web.AppRunner(self.cache.app(), access_log=None, shutdown_timeout=0)
        await self._serving.setup()
        await web.TCPSite(self._serving, "127.0.0.1", self.table.listen.cache_port).start()

    async def end_cache(self) -> None:
        if self._serving:
            await self._serving.cleanup()
        self._serving = None

    async def _stop_servers(self) -> None:
        await self.end_cache()
        await super()._stop_servers()

    def __enter__(self) -> Self:
        super().__enter__()
        eventually(lambda: self.cache_is_well, within_s=20, what="Envoy found the cache well")
        return self

    @property
    def cache_is_well(self) -> bool:
        name = "cluster.cache.health_check.healthy"
        return self._admin(f"stats?filter=^{name}$").data.strip() == f"{name}: 2".encode()


def free_redis() -> RedisTier:
    return RedisTier(host="127.0.0.1", port=free_port())
