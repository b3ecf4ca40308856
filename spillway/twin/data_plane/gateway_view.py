"""Which sites a gateway would send a request to: Envoy's own checks for the private one, the agent's for the others.

A model server that is ready is not yet used: the gateway has to have noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from spillway.contracts.classes import Site
from spillway.contracts.routing import Gate, listener_name

_BROKEN: Final = (
    "failed_active_health_check",
    "failed_outlier_check",
    "pending_active_hc",
    "failed_active_degraded_check",
)


@dataclass(frozen=True)
class GatewayView:
    """A gateway's admin and agent ports, and the sites that run behind it."""

    name: str
    admin_port: int
    agent_port: int
    sites: tuple[Site, ...]

    async def unseen(self, session: aiohttp.ClientSession) -> tuple[Site, ...]:
        """Sites that run and are not used yet."""
        try:
            clusters = await _get(session, f"http://127.0.0.1:{self.admin_port}/clusters?format=json")
            judged = (await _get(session, f"http://127.0.0.1:{self.agent_port}/healthz"))["sites"]
        except (aiohttp.ClientError, TimeoutError, OSError):
            return self.sites
        hosts = {cluster["name"]: cluster.get("host_statuses", []) for cluster in clusters["cluster_statuses"]}
        return tuple(
            site
            for site in self.sites
            if site in judged and not (judged[site] and _usable(hosts.get(listener_name(site, Gate.OPEN), [])))
        )


async def wait_seen(views: Iterable[GatewayView], timeout_s: float) -> list[str]:
    """Wait until every gateway uses every site behind it; what is missing after ``timeout_s``, in words."""
    views = list(views)
    deadline = time.monotonic() + timeout_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while True:
            unseen = [await view.unseen(session) for view in views]
            if not any(unseen) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
    return [
        f"{view.name} does not use {', '.join(sites)} yet" for view, sites in zip(views, unseen, strict=True) if sites
    ]


def _usable(hosts: list[dict[str, Any]]) -> bool:
    return any(not any(host.get("health_status", {}).get(flag) for flag in _BROKEN) for host in hosts)


async def _get(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        return await answer.json(content_type=None)
