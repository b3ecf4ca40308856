"""What the private cluster says about itself from inside: how many model servers are up, and the tokens they count.

The cost function cannot look into a private cluster; the gateway beside it can. ``PrivateServers`` and
``PrivateTokensPerMinute`` go to CloudWatch with the heartbeat. Tokens are vLLM's own counters; Triton has none, and
then there is no metric rather than a zero.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp

from spillway.contracts import metrics
from spillway.contracts.routing import Heartbeat, SiteRoute
from spillway.runtime.gateway.server_metrics import pages, samples

COUNTERS: Final = samples("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
"""https://docs.vllm.ai/en/latest/design/metrics.html: counters since the server's start."""


class TokenCounter:
    """Tokens a minute of all model servers, from one reading to the next."""

    def __init__(self, route: SiteRoute, session: aiohttp.ClientSession) -> None:
        self._route, self._session = route, session
        self._last: dict[str, float] = {}
        self._read_at: float | None = None

    async def per_minute(self) -> float | None:
        """``None`` for a first reading, and where no server counts tokens. A server that started anew counts from 0."""
        now = _now()
        counted = {address: count async for address, count in self._counted()}
        known = {address: self._last[address] for address in counted if address in self._last}
        grown = sum(count - was if (count := counted[address]) >= was else count for address, was in known.items())
        since, self._read_at, self._last = self._read_at, now, counted
        return grown / (now - since) * 60 if since is not None and known and now > since else None

    async def _counted(self) -> AsyncIterator[tuple[str, float]]:
        async for address, page in pages(self._route, self._session):
            if values := COUNTERS.findall(page):
                yield address, sum(map(float, values))


def publish(heartbeat: Heartbeat, values: Mapping[str, float | None], put_metric_data: Callable[..., Any]) -> None:
    """Tell CloudWatch (blocking). ``values``: by metric; ``None`` is not known, and not told."""
    put_metric_data(
        Namespace=heartbeat.namespace,
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": metrics.GATEWAY, "Value": heartbeat.gateway}],
                "Value": value,
                "Unit": "Count",
            }
            for name, value in values.items()
            if value is not None
        ],
    )


def _now() -> float:
    return time.monotonic()
