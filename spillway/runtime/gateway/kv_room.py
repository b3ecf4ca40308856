"""How many requests the private vLLM servers have room for: in their KV caches, and in their queues (``queue_room``).

Slots count requests, and a cache holds tokens: with long ones it is full before the slots are. vLLM takes the next
request all the same, and throws out one that it has begun. So while caches fill up, the site has as many slots as
requests like those that run would fit; the next one spills. P0 keeps its room above them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from statistics import mean
from typing import Final

import aiohttp

from spillway.contracts.routing import SiteRoute
from spillway.runtime.gateway.queue_room import RUNNING, QueueRoom
from spillway.runtime.gateway.server_metrics import pages, samples, values

PERIOD_S: Final = 2.0
_USED: Final = samples("vllm:kv_cache_usage_perc")
"""0 to 1. https://docs.vllm.ai/en/v0.30.0/design/metrics/: by engine."""
_EARLY: Final = 0.5
"""Share of the limit below which the sizes of those that run say little about the next ones."""


class KvRoom:
    """``most``: share of the caches that requests may fill. ``queue``: told of each reading."""

    def __init__(self, route: SiteRoute, most: float, session: aiohttp.ClientSession, queue: QueueRoom) -> None:
        self._route, self._most, self._session, self._queue = route, most, session, queue
        self.slots: int | None = None
        """As last read; ``None`` where the caches are no limit, or cannot be read."""

    async def check(self) -> None:
        """Read all servers once; those that can be read speak for the others."""
        read: list[str] = []
        with suppress(OSError, aiohttp.ClientError, TimeoutError):
            async for _, page in pages(self._route, self._session):
                read.append(page)
        if read:
            self._queue.take(read, time.monotonic())
        running, used = (values(what, read) for what in (RUNNING, _USED))
        self.slots = room(sum(running), mean(used), self._most) if used else None


def room(running: float, used: float, most: float) -> int | None:
    """Requests that fit if they are as long as those that run. ``used``: mean share of the caches."""
    if used < most * _EARLY or not running:
        return None
    return max(1, int(running * most / used))


def narrowed(route: SiteRoute, slots: int | None) -> SiteRoute:
    """The route with at most so many slots, and as much room for P0 above them as there was."""
    if slots is None or slots >= route.slots:
        return route
    batch = None if route.batch_slots is None else min(slots, route.batch_slots)
    above = route.room_above + route.slots - slots
    return route.model_copy(update={"slots": slots, "batch_slots": batch, "headroom": above})
