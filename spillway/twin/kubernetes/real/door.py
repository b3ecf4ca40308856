"""A real control plane in the stand-in's place.

``python -m spillway.twin.kubernetes.real.door --port N --state-dir D`` starts it, gives it nodes and the kinds that
charts would bring, and hands everything that is asked on the port to the API server as its administrator, as
`kubectl proxy` does. Loopback only. What is deployed is kept in the folder, over restarts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from spillway.twin.kubernetes.real.control_plane import ControlPlane
from spillway.twin.kubernetes.real.nodes import A100, MI300X, SYSTEM, Machine, nodes
from spillway.twin.kubernetes.schema import shipped_crds
from spillway.twin.private_files import write_private

POOLS: Final[dict[str, tuple[Machine, int]]] = {"system": (SYSTEM, 3), "gpu": (A100, 3), "amd-gpu": (MI300X, 2)}
"""Nodes by pool: enough for an example stack. Only kwok runs on them."""
ADDRESS: Final = {"ip": "127.0.0.1"}
"""Of every load balancer: here nothing but processes of this machine answers."""
_HEALTH: Final = "/_spillway/health"
_SERVICES: Final = "/api/v1/services"
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_MAX_BODY: Final = 8 * 1024 * 1024
_AGAIN_S: Final = 1.0
_PASSED_ON: Final = ("Accept", "Content-Type")
_PASSED_BACK: Final = ("Content-Type", "Warning", "Audit-Id")


class Door:
    """The port of a control plane that runs."""

    def __init__(self, control_plane: ControlPlane, boot_id: str) -> None:
        self._url = control_plane.url
        self._token = control_plane.token
        self._tls = ssl.create_default_context(cafile=str(control_plane.authority))
        self._boot_id = boot_id
        self._session: aiohttp.ClientSession

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_get(_HEALTH, self._health)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        app.cleanup_ctx.append(self._running)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"boot_id": self._boot_id})

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        """While the port is open: a session, what a bare cluster lacks, and addresses for load balancers."""
        headers = {"Authorization": f"Bearer {self._token}"}
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(self._url, headers=headers, connector=connector, timeout=timeout) as session:
            self._session = session
            await self._furnish()
            giving = asyncio.create_task(self._give_addresses())
            yield
            giving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await giving

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        body = await request.read()
        async with self._session.request(
            request.method, request.raw_path, data=body or None, headers=headers
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name in _PASSED_BACK:
                for value in answer.headers.getall(name, ()):
                    response.headers.add(name, value)
            # Who watches leaves when it has seen enough.
            with contextlib.suppress(ConnectionResetError):
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response

    async def _furnish(self) -> None:
        """Nodes, and the kinds whose charts are not run here. A cluster that was there before has them."""
        for pool, (machine, count) in POOLS.items():
            for node in nodes(machine, count, pool):
                await self._apply(f"/api/v1/nodes/{node['metadata']['name']}", node)
        for crd in shipped_crds():
            known = {key: value for key, value in crd.items() if key != "source"}
            name = crd["metadata"]["name"]
            await self._apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", known)

    async def _apply(self, path: str, thing: dict[str, Any]) -> None:
        """With its status, which a node's maker says."""
        for part in ("", "/status") if "status" in thing else ("",):
            await self._patch(f"{path}{part}?fieldManager=spillway-twin&force=true", thing, _APPLY)

    async def _patch(self, path: str, thing: dict[str, Any], kind: str) -> None:
        async with self._session.patch(path, data=json.dumps(thing), headers={"Content-Type": kind}) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")

    async def _give_addresses(self) -> None:
        """What a cloud's controller does: every Service of type LoadBalancer gets an address."""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with self._session.get(f"{_SERVICES}?watch=true") as events:
                    async for line in events.content:
                        await self._give_address(json.loads(line)["object"])
            await asyncio.sleep(_AGAIN_S)

    async def _give_address(self, service: dict[str, Any]) -> None:
        wants = service.get("spec", {}).get("type") == "LoadBalancer"
        if not wants or service["status"].get("loadBalancer", {}).get("ingress"):
            return
        metadata = service["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
        with contextlib.suppress(RuntimeError):
            # It may be gone again.
            await self._patch(path, {"status": {"loadBalancer": {"ingress": [ADDRESS]}}}, _MERGE)


def boot_id(folder: Path) -> str:
    """As long as the data are the same, so is this: a restart forgets nothing."""
    path = folder / "boot-id"
    if not path.is_file():
        write_private(path, str(uuid.uuid4()))
    return path.read_text(encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True, help="the cluster's data, keys and logs")
    arguments = parser.parse_args()
    folder = arguments.state_dir / "real"
    folder.mkdir(parents=True, exist_ok=True)
    control_plane = ControlPlane(folder)
    try:
        control_plane.start()
        app = Door(control_plane, boot_id(folder)).app()
        web.run_app(app, host="127.0.0.1", port=arguments.port, print=None, access_log=None, shutdown_timeout=1.0)
    finally:
        control_plane.stop()


if __name__ == "__main__":
    main()
