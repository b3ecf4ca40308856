"""The daemon that owns every process of a twin.

``python -m spillway.twin.supervisor --state-dir .spillway/<stack>``; :mod:`spillway.twin.handle` is its client. It
starts the three emulated providers, makes processes out of what was deployed to them, and takes orders (status,
reconcile, faults) over HTTP on loopback with a token from ``twin.json``. Everything it starts dies with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import aiohttp
from aiohttp import web

from spillway.contracts.classes import Site
from spillway.twin.data_plane.data_plane import DataPlane, Layout
from spillway.twin.data_plane.gateway_view import GatewayView, wait_seen
from spillway.twin.data_plane.processes.child import ProcessSpec, end_leftovers
from spillway.twin.data_plane.processes.group import ProcessGroup
from spillway.twin.handle import LOCK_EXIT_CODE, TWIN_FILE, KubernetesKind
from spillway.twin.ports import Ports
from spillway.twin.private_files import write_private
from spillway.twin.status import SiteStatus, TwinStatus

PROVIDERS: Final = ("aws", "azure", "kubernetes")
_CONTROL: Final = "control"
_START_S: Final[dict[KubernetesKind, float]] = {"stand-in": 45.0, "real": 200.0}
_NOTICE_S: Final = 20.0
"""Longest wait for a gateway to use a site that is ready; a cut-off may keep it from that for good."""
_FAULT_NAMES: Final = {"kill": "killed", "hang": "hung", "slow": "slow", "fail": "failing"}
_SPILL: Final = "spill"

log = logging.getLogger("spillway.twin")


class Supervisor:
    """One twin. ``provider_command`` makes the command line of an emulated provider from its name, port and folder."""

    def __init__(
        self,
        state_dir: Path,
        provider_command: Callable[[str, int, Path], tuple[str, ...]] | None = None,
        kubernetes: KubernetesKind = "stand-in",
    ) -> None:
        self._dir = state_dir
        self._mark = str(state_dir)
        self._token = secrets.token_urlsafe(24)
        self._ports = Ports(state_dir)
        self._group = ProcessGroup(self._mark, state_dir / "logs")
        self._kubernetes: KubernetesKind = kubernetes
        self._provider_command = provider_command or self._usual_command
        self.endpoints = {name: f"http://127.0.0.1:{self._ports.get(f'{_CONTROL}/{name}')}" for name in PROVIDERS}
        self._data_plane = DataPlane(Layout(state_dir, self.endpoints, self._ports))
        self._faults: dict[str, str] = {}
        self._unused: list[str] = []
        self._reconciling = asyncio.Lock()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM, SIGINT or an order to stop. Raises ``RuntimeError`` when a provider does not come up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        watching = asyncio.create_task(self._group.watch())
        try:
            await self._start_providers()
            async with self._control_api() as control:
                self._write_twin_file(control)
                await self._stopping.wait()
        finally:
            (self._dir / TWIN_FILE).unlink(missing_ok=True)
            await self._group.close()
            watching.cancel()
            end_leftovers(self._mark, frozenset({os.getpid()}))

    def status(self) -> TwinStatus:
        planned = self._data_plane.planned
        ready = self._group.is_ready
        return TwinStatus(
            pid=os.getpid(),
            endpoints=self.endpoints,
            gateways=planned.gateways,
            dns=planned.dns,
            sites=tuple(self._site(site) for site in Site),
            processes=self._group.status(),
            problems=(*planned.problems, *self._late(ready), *self._unused),
        )

    async def reconcile(self, timeout_s: float, service_time_s: float | None = None) -> TwinStatus:
        """Read what is deployed, make the processes equal to it, and wait for them."""
        async with self._reconciling:
            if service_time_s is not None:
                self._data_plane.service_time_s = service_time_s
            planned = await asyncio.to_thread(self._data_plane.read)
            await self._group.apply(planned.specs, scope=lambda name: not name.startswith(f"{_CONTROL}/"))
            late = await self._group.wait_ready([spec.name for spec in planned.specs], timeout_s)
            self._unused = [] if late else await wait_seen(self._views(), min(timeout_s, _NOTICE_S))
            if late:
                log.warning("not ready after %.0f s: %s", timeout_s, ", ".join(late))
            return self.status()

    def _views(self) -> list[GatewayView]:
        """The gateways, less the sites that are broken on purpose."""
        views = self._data_plane.planned.views
        return [replace(v, sites=tuple(site for site in v.sites if not self._faults.get(site))) for v in views]

    async def fault(self, group: str, action: str, options: dict[str, float]) -> None:
        """See :meth:`spillway.twin.handle.TwinHandle.fault`. Raises ``LookupError`` for an unknown group or action."""
        if group == _CONTROL:
            raise LookupError("the emulated providers take no faults: kill a site or a gateway")
        if group == _SPILL:
            await self._order_spill(action)
            return
        at_once = {
            "kill": self._group.kill,
            "start": self._group.start,
            "hang": self._group.hang,
            "resume": self._group.resume,
        }
        if action in at_once:
            at_once[action](group)
        elif action in ("slow", "fail", "heal"):
            await self._order_proxy(group, action, options)
        else:
            raise LookupError(f"unknown action {action!r}: one of {', '.join(at_once)}, slow, fail, heal")
        self._faults[group] = _FAULT_NAMES.get(action, "")

    async def _order_spill(self, action: str) -> None:
        if action not in ("close", "open"):
            raise LookupError(f"unknown action {action!r} of the spill: close or open")
        await asyncio.to_thread(self._data_plane.close_spill, action == "close")

    async def _order_proxy(self, group: str, action: str, options: dict[str, float]) -> None:
        port = self._data_plane.planned.fault_ports.get(group)
        if not port:
            raise LookupError(f"{group!r} has no fault proxy: slow, fail and heal work on {', '.join(Site)}")
        orders = {"slow": {"delay_s": options.get("delay_s", 3.0)}, "fail": {"status": 500, **options}}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.put(f"http://127.0.0.1:{port}/fault", json=orders.get(action, {})) as answer,
        ):
            answer.raise_for_status()

    def _site(self, site: Site) -> SiteStatus:
        names = self._group.members(site)
        if not names:
            planned = self._data_plane.planned
            reasons = [problem for problem in planned.problems if problem.startswith(f"{site}:")]
            why = "not deployed" if planned.specs else "not run: the twin has resources alone (`up --serve` runs more)"
            return SiteStatus(site, ready=False, state="absent", detail=reasons[0] if reasons else why)
        fault = self._faults.get(site, "")
        waiting = [name for name in names if not self._group.is_ready(name)]
        state = fault or ("starting" if waiting else "ready")
        return SiteStatus(site, ready=not waiting and not fault, state=state, detail=", ".join(waiting))

    def _late(self, ready: Callable[[str], bool]) -> list[str]:
        return [
            f"{process.name} exited; its log is {process.log}"
            for process in self._group.status()
            if process.state == "exited" and not ready(process.name)
        ]

    async def _start_providers(self) -> None:
        specs = [
            ProcessSpec(
                name=f"{_CONTROL}/{name}",
                command=(
                    *self._provider_command(name, self._ports.get(f"{_CONTROL}/{name}"), self._dir / name),
                    *(("--aws", self.endpoints["aws"]) if name == "azure" else ()),
                ),
                port=self._ports.get(f"{_CONTROL}/{name}"),
                health=f"{self.endpoints[name]}/_spillway/health",
            )
            for name in PROVIDERS
        ]
        await self._group.apply(specs, scope=lambda name: name.startswith(f"{_CONTROL}/"))
        within_s = _START_S[self._kubernetes]
        late = await self._group.wait_ready([spec.name for spec in specs], within_s)
        if late:
            raise RuntimeError(f"did not start in {within_s:.0f} s: {', '.join(late)}; see {self._dir / 'logs'}")

    def _usual_command(self, name: str, port: int, folder: Path) -> tuple[str, ...]:
        folder.mkdir(parents=True, exist_ok=True)
        real = name == "kubernetes" and self._kubernetes == "real"
        module = "kubernetes.real.door" if real else f"{name}.server"
        arguments = ("--port", str(port), "--state-dir", str(folder))
        return (sys.executable, "-m", f"spillway.twin.{module}", *arguments)

    @contextlib.asynccontextmanager
    async def _control_api(self) -> AsyncIterator[str]:
        app = web.Application(middlewares=[self._authorised])
        app.router.add_get("/status", self._get_status)
        app.router.add_post("/reconcile", self._post_reconcile)
        app.router.add_post("/groups/{group}/{action}", self._post_fault)
        app.router.add_post("/stop", self._post_stop)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        port = self._ports.get(f"{_CONTROL}/supervisor")
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()

    @web.middleware
    async def _authorised(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise web.HTTPUnauthorized(text="the token in twin.json is needed")
        try:
            return await handler(request)
        except LookupError as error:
            raise web.HTTPNotFound(text=str(error.args[0])) from None

    async def _get_status(self, _: web.Request) -> web.Response:
        return web.json_response(self.status().to_json())

    async def _post_reconcile(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        status = await self.reconcile(float(wanted.get("timeout_s", 90.0)), wanted.get("service_time_s"))
        return web.json_response(status.to_json())

    async def _post_fault(self, request: web.Request) -> web.Response:
        await self.fault(request.match_info["group"], request.match_info["action"], await request.json())
        return web.json_response({})

    async def _post_stop(self, _: web.Request) -> web.Response:
        self._stopping.set()
        return web.json_response({})

    def _write_twin_file(self, control: str) -> None:
        content: dict[str, Any] = {
            "pid": os.getpid(),
            "control": control,
            "token": self._token,
            "endpoints": self.endpoints,
            "kubernetes": self._kubernetes,
        }
        write_private(self._dir / TWIN_FILE, json.dumps(content, indent=2))


@contextlib.contextmanager
def _sole_owner(state_dir: Path) -> Iterator[None]:
    """The lock lives as long as this process, whatever ends it."""
    with (state_dir / "supervisor.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another twin owns {state_dir}", file=sys.stderr)
            sys.exit(LOCK_EXIT_CODE)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Own every process of a twin.")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument(
        "--kubernetes", choices=get_args(KubernetesKind), default="stand-in", help="what the cluster is"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    state_dir = args.state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    with _sole_owner(state_dir):
        # What a crashed predecessor left would hold its ports.
        for name in end_leftovers(str(state_dir), frozenset({os.getpid()})):
            log.info("ended a leftover: %s", name)
        asyncio.run(Supervisor(state_dir, kubernetes=args.kubernetes).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
