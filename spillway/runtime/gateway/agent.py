"""The agent beside each gateway: ``python -m spillway.runtime.gateway.agent --routing routing.json``.

It judges the burst sites, obeys the spill cut-off, tells Envoy both through endpoint files, keeps the token budgets,
takes jobs and sees them through, and sends the heartbeat.
``/healthz`` and ``/metrics`` on 127.0.0.1. ``--once`` only writes the endpoint files, for Envoy to find at its
start. ``--until-envoy-ends``: a SIGTERM lets Envoy finish first (:mod:`spillway.runtime.gateway.stopping`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from spillway.contracts import jobs, metrics
from spillway.contracts.classes import RequestClass, Site, SiteName
from spillway.contracts.credentials import AwsToken, SigV4
from spillway.contracts.routing import AgentCheck, RoutingTable, SiteRoute
from spillway.contracts.usage import Usage
from spillway.runtime.cache.cache_service import CacheService
from spillway.runtime.gateway import canary, kv_room, monthly_quotas, private_capacity, usage_log
from spillway.runtime.gateway.answer_times import AnswerTimes
from spillway.runtime.gateway.aws import client, read_parameter, said
from spillway.runtime.gateway.canary import CanaryWatch
from spillway.runtime.gateway.capacity import Breakers
from spillway.runtime.gateway.certificate import days_left, write_certificate
from spillway.runtime.gateway.cutoff_watch import CutoffWatch
from spillway.runtime.gateway.eds import write_endpoints
from spillway.runtime.gateway.entra_token import EntraRefusedError
from spillway.runtime.gateway.envoy_admin import EnvoyAdmin
from spillway.runtime.gateway.health import SiteJudge, SiteProbe
from spillway.runtime.gateway.heartbeat import GatewayHealth, beat
from spillway.runtime.gateway.job_desk import JobDesk
from spillway.runtime.gateway.job_store import JobStore
from spillway.runtime.gateway.job_worker import JobWorker
from spillway.runtime.gateway.kv_room import KvRoom
from spillway.runtime.gateway.live_watch import LiveWatch
from spillway.runtime.gateway.monthly_quotas import Quotas
from spillway.runtime.gateway.private_capacity import TokenCounter
from spillway.runtime.gateway.queue_room import QueueRoom
from spillway.runtime.gateway.relay import Relay
from spillway.runtime.gateway.stopping import Ending
from spillway.runtime.gateway.token_budgets import TokenBudgets
from spillway.runtime.gateway.tokens import RENEW_S, has_token, token_maker, write_missing_tokens, write_token
from spillway.runtime.gateway.usage_report import UsageReport, tokens_of

LOG = logging.getLogger("spillway.agent")
FIRST_RETRY_S = 1.0
FIRST_TOKENS_S = 5.0
CAPACITY_PERIOD_S = 5.0


class Agent:
    """All of it, for one gateway."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        self.judges: dict[SiteName, SiteJudge] = {}
        self._with_tokens = [route for route in table.sites if token_maker(route)]
        self._without_token: set[SiteName] = set()
        self.canary: CanaryWatch | None = None
        self.kv_room: KvRoom | None = None
        self.queue_room = QueueRoom(table.class_route(RequestClass.P0).first_token_s)
        self._at_once_per_slot: float | None = None
        self.cutoff: CutoffWatch | None = None
        self.last_beat: float | None = None
        self.last_cutoff_read = 0.0
        self.failing: str | None = None
        self.budgets = TokenBudgets(table)
        self.times = AnswerTimes(table)
        self.usage: UsageReport | None = None
        if table.usage:
            limits = table.quotas()
            self.usage = UsageReport(table.usage, self.budgets.used, limits)
            if limits:
                self.budgets.quotas = Quotas(table.usage.stack, limits, partial(tokens_of, self.budgets.used))
        self.relay = Relay(table)
        self.cache = CacheService(table, table.cache) if table.cache else None
        if table.cutoff:
            kept = Path(table.runtime_dir) / "cutoff.json"
            self.cutoff = CutoffWatch(table.cutoff, partial(read_parameter, region=table.cutoff.region), kept)
        self.live: LiveWatch | None = None
        if table.live:
            self.live = LiveWatch(table.live, partial(read_parameter, region=table.live.region))
        self.jobs: JobWorker | None = None
        if table.jobs:
            self.jobs = JobWorker(JobStore(table.jobs), partial(self.is_open, table.jobs.site, jobs.CLASS))

    def is_open(self, site: SiteName, request_class: RequestClass) -> bool:
        """Whether a site takes a class: Envoy itself judges the private one, and a cut-off closes burst sites only."""
        if site == Site.PRIVATE:
            return True
        judge = self.judges.get(site)
        closed = self.cutoff is not None and request_class in self.cutoff.closed
        return not closed and site not in self._without_token and (judge is None or judge.verdict.healthy)

    def publish(self) -> None:
        """Tell Envoy."""
        changed = write_endpoints(self.table, self.is_open)
        if changed:
            LOG.info("wrote %d endpoint files", changed)

    async def prepare(self) -> None:
        """Write the files that Envoy starts with."""
        write_missing_tokens(self.table)
        self._without_token = {route.site for route in self._with_tokens if not has_token(self.table, route)}
        write_certificate(self.table)
        renewals = [asyncio.create_task(self._renew_token(route)) for route in self._with_tokens]
        if renewals:
            # Not for longer: the private site wants none.
            await asyncio.wait(renewals, timeout=FIRST_TOKENS_S)
        if self.cutoff:
            try:
                await self._read_cutoff()
            except Exception as error:
                closed = ", ".join(sorted(self.cutoff.closed)) or "nobody"
                LOG.warning("cut-off could not be read: %s; closed for %s until then", said(error), closed)
        self.publish()

    async def run(self, stop: asyncio.Event, until_envoy_ends: bool = False) -> None:
        """Work until ``stop`` is set; ``until_envoy_ends``: tell Envoy then, and go on as long as it does."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            ending = Ending(self.table.listen.admin_port, session) if until_envoy_ends else None
            if ending:
                await ending.call_off()
            self._make_judges(session)
            await self.prepare()
            runner = await self.serve()
            tasks = [asyncio.create_task(work) for work in self._work(session)]
            await stop.wait()
            if ending:
                LOG.info("the gateway ends: Envoy keeps no connection from now on")
                await ending.begin()
                await ending.over()
            with contextlib.suppress(Exception):
                await self._tell_usage()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()

    def _make_judges(self, session: aiohttp.ClientSession) -> None:
        for route in self.table.sites:
            if isinstance(route.health, AgentCheck) and self.table.probe:
                probe = SiteProbe(route, self.table.probe, session, self.table.token_path(route.site))
                self.judges[route.site] = SiteJudge(route, route.health, probe, partial(_describe, route))
            if route.canary:
                self.canary = CanaryWatch(self.table, route, route.canary, session)
            if route.site == Site.PRIVATE and self.table.server == "vllm":
                self.kv_room = KvRoom(route, self.table.kv_cache_share, session, self.queue_room)

    def _work(self, session: aiohttp.ClientSession) -> list[Coroutine[Any, Any, None]]:
        work: list[Coroutine[Any, Any, None]] = [
            _every(judge.check_every_s, partial(self._judge, judge)) for judge in self.judges.values()
        ]
        if self.cutoff:
            work.append(_every(self.cutoff.cutoff.poll_s, self._obey_cutoff))
        if self.live:
            work.append(_every(self.live.live.poll_s, self._read_live))
        work += [_every(RENEW_S, partial(self._keep_token, route)) for route in self._with_tokens]
        if self.kv_room or self.table.peers or any(route.capacity != "fixed" for route in self.table.sites):
            period_s = kv_room.PERIOD_S if self.kv_room else CAPACITY_PERIOD_S
            work.append(_every(period_s, partial(self._fit_breakers, Breakers(self.table, session))))
        if self.jobs:
            work.append(_every(self.jobs.store.queue.period_s, partial(self._see_jobs_through, self.jobs)))
        if self.table.usage:
            work.append(_every(self.table.usage.period_s, self._tell_usage))
            if self.budgets.quotas:
                work.append(_every(monthly_quotas.PERIOD_S, partial(self._read_quotas, self.budgets.quotas)))
        if self.canary:
            work.append(_every(canary.PERIOD_S, partial(self._watch_canary, self.canary)))
        if self.table.heartbeat:
            health = GatewayHealth(self.table, session)
            work.append(_every(self.table.heartbeat.period_s, partial(self._beat, health)))
            private = next((route for route in self.table.sites if route.site == Site.PRIVATE), None)
            if private is not None:
                tell = partial(
                    self._tell_capacity, private, Breakers(self.table, session), TokenCounter(private, session), session
                )
                work.append(_every(self.table.heartbeat.period_s, tell))
        return work

    async def _judge(self, judge: SiteJudge) -> None:
        changed = await judge.check()
        if changed and judge.last:
            state = "healthy" if judge.verdict.healthy else "unhealthy"
            LOG.warning("%s is %s: %s", judge.route.site, state, judge.last.reason)
        self.publish()

    async def _read_cutoff(self) -> bool:
        assert self.cutoff is not None
        changed = await asyncio.to_thread(self.cutoff.check)
        self.last_cutoff_read = time.time()
        return changed

    async def _obey_cutoff(self) -> None:
        assert self.cutoff is not None
        if await self._read_cutoff():
            LOG.warning("spill cut-off: closed for %s", ", ".join(sorted(self.cutoff.closed)) or "nobody")
            self.publish()

    async def _read_live(self) -> None:
        assert self.live is not None
        await asyncio.to_thread(self.live.check)

    async def _renew_token(self, route: SiteRoute) -> None:
        """The one that there is stays where there is no other."""
        try:
            await asyncio.to_thread(write_token, self.table, route)
        except Exception as error:
            why = str(error) if isinstance(error, EntraRefusedError) else said(error)
            LOG.warning("no token for %s: %s", route.site, why)
            raise
        self._without_token.discard(route.site)

    async def _keep_token(self, route: SiteRoute) -> None:
        was_without = route.site in self._without_token
        await self._renew_token(route)
        if was_without:
            self.publish()

    async def _fit_breakers(self, breakers: Breakers) -> None:
        """To the instances that there are, and to the gateways, of which this is one."""
        gateways = await breakers.gateways() if self.table.peers else self.table.replicas
        self.budgets.divide(gateways)
        for route in self.table.sites:
            most = None
            if route.site == Site.PRIVATE and self.kv_room:
                await self.kv_room.check()
                most = self.kv_room.slots
            if live := await self._live(route, breakers):
                await breakers.fit(route, live, gateways, most, self._at_once(route.with_instances(live)))

    def _at_once(self, route: SiteRoute) -> int | None:
        """What a site as it is can begin in time. A cloud's servers cannot be read: a slot there is taken for as good
        as a slot here."""
        most = self.queue_room.most
        if route.site == Site.PRIVATE:
            self._at_once_per_slot = None if most is None else most / route.slots
            return most
        return None if self._at_once_per_slot is None else ceil(self._at_once_per_slot * route.slots)

    async def _live(self, route: SiteRoute, breakers: Breakers) -> float | None:
        """How many instances a site has; nothing where that is not known yet."""
        match route.capacity:
            case "addresses":
                return await breakers.addresses(route)
            case "endpoint":
                return self.judges[route.site].live_instances if route.site in self.judges else None
            case "published":
                return self.live.instances(route) if self.live else None
            case "fixed":
                return route.instances

    async def _see_jobs_through(self, worker: JobWorker) -> None:
        await asyncio.to_thread(worker.work)

    async def _watch_canary(self, watch: CanaryWatch) -> None:
        if await watch.check():
            LOG.warning("release %s on trial gets no requests any more: %s", watch.rules.version, watch.ended)

    async def _beat(self, health: GatewayHealth) -> None:
        heartbeat = self.table.heartbeat
        assert heartbeat is not None
        failing = await health.failing()
        if failing != self.failing:
            LOG.warning("heartbeat %s", f"stops: {failing}" if failing else "goes on")
        self.failing = failing
        if failing is None:
            await asyncio.to_thread(beat, heartbeat, client("cloudwatch", heartbeat.region).put_metric_data)
            self.last_beat = time.time()

    async def _tell_capacity(
        self, private: SiteRoute, breakers: Breakers, tokens: TokenCounter, session: aiohttp.ClientSession
    ) -> None:
        heartbeat = self.table.heartbeat
        assert heartbeat is not None
        servers, counted = float(await breakers.healthy(private)), None
        with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
            counted = await tokens.per_minute()
        told = {
            metrics.PRIVATE_SERVERS: servers,
            metrics.PRIVATE_TOKENS: counted,
            metrics.CERTIFICATE_DAYS: await days_left(EnvoyAdmin(self.table.listen.admin_port, session)),
        }
        put = client("cloudwatch", heartbeat.region).put_metric_data
        await asyncio.to_thread(private_capacity.publish, heartbeat, told, put)

    async def _tell_usage(self) -> None:
        if self.usage and self.table.usage:
            put = client("cloudwatch", self.table.usage.region).put_metric_data
            await asyncio.to_thread(self.usage.publish, put)

    async def _read_quotas(self, kept: Quotas) -> None:
        assert self.table.usage is not None
        await asyncio.to_thread(kept.read, client("cloudwatch", self.table.usage.region).get_metric_data)

    async def serve(self) -> web.AppRunner:
        """What others of the gateway ask, and where Envoy tells what answers used; over with the runner."""
        app = web.Application(client_max_size=self.table.body_limit_bytes + (1 << 16))
        app.cleanup_ctx.append(self._take_usage)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/tokens/reserve", self._reserve)
        if self.jobs:
            JobDesk(self.table, self.jobs.store).add_to(app)
        # A client that leaves has to end what it asked for.
        relay = web.AppRunner(self.relay.app(), access_log=None, handler_cancellation=True)
        app.cleanup_ctx.append(partial(_beside, relay, self.table.listen.relay_port))
        if self.cache:
            cache = web.AppRunner(self.cache.app(), access_log=None)
            app.cleanup_ctx.append(partial(_beside, cache, self.table.listen.cache_port))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.table.listen.agent_port).start()
        return runner

    async def _take_usage(self, _: web.Application) -> AsyncIterator[None]:
        def take(usage: Usage) -> None:
            self.budgets.settle(usage)
            self.times.take(usage)

        async with await usage_log.serve(self.table.listen.usage_port, take):
            yield

    async def _healthz(self, _: web.Request) -> web.Response:
        sites = {str(site.site): self.is_open(site.site, RequestClass.P0) for site in self.table.sites}
        closed = sorted(self.cutoff.closed) if self.cutoff else []
        return web.json_response({"sites": sites, "closed": closed, "failing": self.failing})

    async def _reserve(self, request: web.Request) -> web.Response:
        said = request.headers
        wait = self.budgets.reserve(said["x-id"], said["x-client"], said["x-class"], float(said["x-tokens"]))
        return web.Response(status=429, headers={"Retry-After": str(wait)}) if wait else web.Response(status=204)

    async def _metrics(self, _: web.Request) -> web.Response:
        lines = [
            f'spillway_site_open{{site="{route.site}",class="{c}"}} {int(self.is_open(route.site, c))}'
            for route in self.table.sites
            for c in RequestClass
        ]
        for site, judge in self.judges.items():
            lines.append(f'spillway_probe_failures_total{{site="{site}"}} {judge.failures}')
            if judge.last:
                lines.append(f'spillway_probe_seconds{{site="{site}"}} {judge.last.seconds:.6f}')
        if self.canary:
            release = f'{{version="{self.canary.rules.version}"}}'
            lines.append(f"spillway_canary_percent{release} {self.canary.percent}")
            lines.append(f"spillway_canary_ended{release} {int(self.canary.ended is not None)}")
        if self.kv_room and self.kv_room.slots is not None:
            lines.append(f"spillway_kv_slots {self.kv_room.slots}")
        if self.last_beat is not None:
            lines.append(f"spillway_heartbeat_timestamp_seconds {self.last_beat:.3f}")
        if self.cutoff:
            read = f'spillway_cutoff_read_timestamp_seconds{{parameter="{self.cutoff.cutoff.parameter}"}}'
            lines.append(f"{read} {self.last_cutoff_read:.3f}")
        lines += [*self.budgets.metrics(), *self.times.metrics(), *self.relay.metrics()]
        lines += self.jobs.metrics() if self.jobs else ()
        lines += self.cache.metrics() if self.cache else ()
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")


def _describe(route: SiteRoute, endpoint: str) -> dict[str, str]:
    region = route.auth.region if isinstance(route.auth, SigV4 | AwsToken) else route.region
    return client("sagemaker", region).describe_endpoint(EndpointName=endpoint)


async def _beside(runner: web.AppRunner, port: int, _: web.Application) -> AsyncIterator[None]:
    """Serves on loopback for as long as the agent's own server does."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield
    await runner.cleanup()


async def _every(period_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Call ``work`` each ``period_s`` seconds; after a failure sooner, then slower again up to the period."""
    failures = 0
    while True:
        started = time.monotonic()
        try:
            await work()
            failures = 0
        except Exception as error:
            failures += 1
            LOG.warning("%s failed: %s", getattr(work, "func", work).__name__, said(error))
        wait = period_s if not failures else min(period_s, FIRST_RETRY_S * 2 ** (failures - 1)) * random.uniform(0.8, 1)
        await asyncio.sleep(max(0.0, wait - (time.monotonic() - started)))


async def _main(table: RoutingTable, once: bool, until_envoy_ends: bool) -> None:
    agent = Agent(table)
    if once:
        await agent.prepare()
        return
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await agent.run(stop, until_envoy_ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--routing", required=True, type=Path, help="the routing table, JSON")
    parser.add_argument("--once", action="store_true", help="write the endpoint files and end")
    parser.add_argument("--until-envoy-ends", action="store_true", help="when ended, tell Envoy and outlast it")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    table = RoutingTable.model_validate_json(args.routing.read_text())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(table, args.once, args.until_envoy_ends))


if __name__ == "__main__":
    main()
