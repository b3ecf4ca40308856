"""Moves Envoy's breakers with the number of live instances, over its admin port (the runtime's admin layer)."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from spillway.contracts.routing import PEERS_CLUSTER, Gate, RoutingTable, SiteRoute, canary_name, listener_name
from spillway.runtime.gateway.envoy_admin import EnvoyAdmin
from spillway.runtime.gateway.kv_room import narrowed
from spillway.runtime.gateway.queue_room import shortened


class Breakers:
    """The circuit breakers of one gateway's sites."""

    def __init__(self, table: RoutingTable, session: aiohttp.ClientSession) -> None:
        self._table, self._admin = table, EnvoyAdmin(table.listen.admin_port, session)

    async def addresses(self, route: SiteRoute) -> int:
        """How many addresses Envoy found behind the site's name."""
        return len(await self._hosts(listener_name(route.site, Gate.OPEN)))

    async def gateways(self) -> int:
        """How many processes the gateway has: as many as it should have, until Envoy has counted them."""
        return len(await self._hosts(PEERS_CLUSTER)) or self._table.replicas

    async def healthy(self, route: SiteRoute) -> int:
        """How many of them pass Envoy's own checks. Raises :class:`aiohttp.ClientResponseError` while Envoy starts: it
        counts every server as failed until the first check is done."""
        return await self._well(listener_name(route.site, Gate.OPEN))

    async def healthy_canary(self, route: SiteRoute) -> int:
        """The same of the site's servers on trial."""
        return await self._well(canary_name(route.site))

    async def _well(self, cluster: str) -> int:
        await self._admin.get("ready")
        hosts = await self._hosts(cluster)
        return sum(not host.get("health_status", {}).get("failed_active_health_check") for host in hosts)

    async def _hosts(self, name: str) -> list[dict[str, Any]]:
        clusters = json.loads(await self._admin.get("clusters", {"format": "json"}))["cluster_statuses"]
        return next((c.get("host_statuses", []) for c in clusters if c["name"] == name), [])

    async def fit(
        self,
        route: SiteRoute,
        live: float,
        gateways: int | None = None,
        most: int | None = None,
        at_once: int | None = None,
    ) -> None:
        """Set the site's limits for that many instances, ``most`` slots, and ``at_once`` requests of all classes,
        divided among so many gateways. To be repeated: a restarted Envoy has forgotten them."""
        table = self._table.model_copy(update={"replicas": gateways or self._table.replicas})
        limits = table.limits(narrowed(shortened(route.with_instances(live), at_once), most))
        values = {_key(route, gate, "max_requests"): limit for gate, limit in limits.items()}
        values[_key(route, Gate.OPEN, "max_pending_requests")] = limits[Gate.OPEN]
        await self._admin.set_runtime(values)


def _key(route: SiteRoute, gate: Gate, limit: str) -> str:
    return f"circuit_breakers.{listener_name(route.site, gate)}.default.{limit}"
