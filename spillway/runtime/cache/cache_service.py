"""Between the front and the sites, for a deterministic model: an answer that is kept is not made again, and one that
many wait for is made once.

It asks Envoy's own inner listener, so that sites are chosen, counted and signed for as ever. What it cannot read, and
what a client does not want kept (``cache-control: no-store`` or ``no-cache``), passes as it is. Only requests of one
class and set of sites wait for each other: what is urgent does not wait for a batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import aiohttp
from aiohttp import web

from spillway.contracts.answer_cache import CACHED_SITE, AnswerCache
from spillway.contracts.classes import SITE_HEADER
from spillway.contracts.routing import GROUP_HEADER, RoutingTable
from spillway.runtime.cache.answer import Answer, unpacked
from spillway.runtime.cache.question import Question, question
from spillway.runtime.cache.tiers import S3, Tier, tiers_of

LOG = logging.getLogger("spillway.cache")
HEALTH_PATH: Final = "/healthz"
REST_S: Final = 5.0
"""Seconds for which a tier that failed is not asked."""
MOST_WRITES: Final = 64
"""Answers on their way into tiers; above it the next one is not kept."""
_OF_A_CONNECTION: Final = ("host", "content-length", "connection", "transfer-encoding", "keep-alive")
_Found = TypeVar("_Found")


class CacheService:
    """Belongs to one event loop. ``tiers``: in place of those that the table names, for tests."""

    def __init__(self, table: RoutingTable, cache: AnswerCache, tiers: list[Tier] | None = None) -> None:
        self._cache = cache
        self._base = f"http://127.0.0.1:{table.listen.inner_port}"
        self._most_bytes = table.body_limit_bytes + (1 << 16)
        self._tiers = tiers_of(cache) if tiers is None else tiers
        self._away = {
            group.name: cache.s3 is not None and cache.s3.region in {table.site(site).region for site in group.sites}
            for group in table.groups()
        }
        self._resting: dict[str, float] = {}
        self._flights: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.hits: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.misses = self.joined = self.passed = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self._most_bytes)
        app.cleanup_ctx.append(self._client)
        app.router.add_get(HEALTH_PATH, self._healthz)
        app.router.add_post("/{path:.*}", self._handle)
        return app

    async def _client(self, _: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as session:
            self._session = session
            yield
            for task in [*self._flights.values(), *self._writes]:
                task.cancel()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        unwanted = "no-" in headers.get("cache-control", "")
        asked = None if unwanted else question(self._cache.package_digest, request.path, headers, body)
        if asked is None:
            self.passed += 1
            return _response(await self._ask(request.path, headers, body))
        answer = await self._answer(asked, request.path, headers, body)
        return _response(answer)

    async def _answer(self, asked: Question, path: str, headers: dict[str, str], body: bytes) -> Answer:
        group = headers.get(GROUP_HEADER, "")
        flight = self._flights.get((asked.key, group))
        if flight is None:
            work = self._found_or_made(asked, group, path, headers, body)
            flight = self._flights[asked.key, group] = asyncio.create_task(work)
            flight.add_done_callback(lambda _: self._flights.pop((asked.key, group), None))
        else:
            self.joined += 1
        # A client that leaves takes nothing from those that wait with it.
        answer = await asyncio.shield(flight)
        return answer.with_id(asked.id) if answer.status == 200 else answer

    async def _found_or_made(
        self, asked: Question, group: str, path: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        """Without the id, where it is one to be kept; as it came where it is none."""
        tiers = [tier for tier in self._tiers if self._away.get(group) or not isinstance(tier, S3)]
        for number, tier in enumerate(tiers):
            kept = await self._tried(tier, partial(tier.get, asked.key))
            if kept is not None and (answer := unpacked(asked.key, kept)):
                self.hits[tier.name] += 1
                self._keep(tiers[:number], asked.key, kept)
                return Answer(200, {**answer.headers, SITE_HEADER: CACHED_SITE}, answer.body)
        self.misses += 1
        made = await self._ask(path, headers, body)
        plain = made.without_id(asked.id)
        if plain is None:
            return made
        if len(plain.body) <= self._cache.most_answer_bytes:
            self._keep(tiers, asked.key, plain.packed(asked.key))
        return Answer(200, {**made.headers, **plain.headers}, plain.body)

    async def _ask(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        assert self._session is not None
        sent = {name: value for name, value in headers.items() if name not in _OF_A_CONNECTION}
        try:
            async with self._session.post(f"{self._base}{path}", data=body, headers=sent) as answer:
                given = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(answer.status, given, await answer.read())
        except aiohttp.ClientError as error:
            LOG.warning("the gateway's inner listener does not answer: %s", type(error).__name__)
            return Answer(503, {}, b"")

    def _keep(self, tiers: list[Tier], key: str, value: bytes) -> None:
        """Nobody waits for it."""
        for tier in tiers:
            if len(self._writes) < MOST_WRITES:
                task = asyncio.create_task(self._write(tier, key, value))
                self._writes.add(task)
                task.add_done_callback(self._writes.discard)

    async def _write(self, tier: Tier, key: str, value: bytes) -> None:
        await self._tried(tier, partial(tier.put, key, value))

    async def _tried(self, tier: Tier, work: Callable[[], Awaitable[_Found]]) -> _Found | None:
        """A tier that fails, or is slow, has nothing, and is left alone for a while."""
        if time.monotonic() < self._resting.get(tier.name, 0.0):
            return None
        try:
            async with asyncio.timeout(tier.timeout_s):
                return await work()
        except Exception as error:
            self.failures[tier.name] += 1
            self._resting[tier.name] = time.monotonic() + REST_S
            LOG.warning("cache tier %s: %s", tier.name, type(error).__name__)
            return None

    def metrics(self) -> list[str]:
        """Lines for Prometheus."""
        hits = (f'spillway_cache_hits_total{{tier="{tier.name}"}} {self.hits[tier.name]}' for tier in self._tiers)
        failed = (
            f'spillway_cache_failures_total{{tier="{tier.name}"}} {self.failures[tier.name]}' for tier in self._tiers
        )
        counted = {"misses": self.misses, "joined": self.joined, "passed": self.passed}
        return [*hits, *failed, *(f"spillway_cache_{name}_total {value}" for name, value in counted.items())]


def _response(answer: Answer) -> web.Response:
    kept = {name: value for name, value in answer.headers.items() if name not in _OF_A_CONNECTION}
    return web.Response(status=answer.status, headers=kept, body=answer.body)
