"""The private gateway's sign of life: a CloudWatch metric whose absence moves DNS to the standby."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from spillway.contracts import metrics
from spillway.contracts.routing import ActiveCheck, Heartbeat, RoutingTable

CHECK_TIMEOUT = aiohttp.ClientTimeout(total=2)


class GatewayHealth:
    """Whether this gateway can serve from the private site: Envoy is ready, and so is the model server."""

    def __init__(self, table: RoutingTable, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._urls = [f"http://127.0.0.1:{table.listen.admin_port}/ready"]
        for site in table.sites:
            if isinstance(site.health, ActiveCheck):
                scheme = "https" if site.tls else "http"
                self._urls.append(f"{scheme}://{site.host}:{site.port}{site.health.path}")

    async def failing(self) -> str | None:
        """What is wrong, ``None`` when nothing is."""
        for url in self._urls:
            try:
                async with self._session.get(url, timeout=CHECK_TIMEOUT) as answer:
                    if answer.status != 200:
                        return f"{url} answered {answer.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                return f"{url}: {type(error).__name__}"
        return None


def beat(heartbeat: Heartbeat, put_metric_data: Callable[..., Any]) -> None:
    """Publish one beat (blocking)."""
    put_metric_data(
        Namespace=heartbeat.namespace,
        MetricData=[
            {
                "MetricName": heartbeat.metric,
                "Dimensions": [{"Name": metrics.GATEWAY, "Value": heartbeat.gateway}],
                "Value": 1.0,
                "Unit": "Count",
            }
        ],
    )
