"""Who has used up his month: each client's tokens of all gateways together, as CloudWatch adds them up.

Every process tells its own (:mod:`spillway.runtime.gateway.usage_report`) and reads the sum every few minutes; what it
has counted itself since is added. Where the sum cannot be read, the last one counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

from spillway.contracts import metrics
from spillway.contracts.months import month_start, next_month

LOG = logging.getLogger("spillway.quotas")
PERIOD_S: Final = 300.0
"""Seconds between two readings."""
WARN_AT: Final = 0.8
"""Share of a quota from which it is said that it comes to its end."""
_DAY_S: Final = 86400


class Quotas:
    """``limits``: tokens of a month by client; ``counted``: this process's own, which only grow."""

    def __init__(
        self,
        stack: str,
        limits: Mapping[str, int],
        counted: Callable[[str], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stack, self._limits, self._counted, self._now = stack, limits, counted, now
        self._sums: dict[str, float] = {}
        self._own_then: dict[str, float] = {}
        self._month = month_start(now())
        self._warned: set[tuple[str, float]] = set()

    def read(self, get_metric_data: Callable[..., Any]) -> None:
        """Blocking."""
        now = self._now()
        own = {client: self._counted(client) for client in self._limits}
        series = [
            (metrics.CLIENT_TOKENS, {metrics.STACK: self._stack, metrics.CLIENT: client}) for client in self._limits
        ]
        read = metrics.read_series(get_metric_data, series, _DAY_S, "Sum", month_start(now), now)
        sums = {client: sum(days.values()) for client, days in zip(self._limits, read, strict=True)}
        self._sums, self._own_then, self._month = sums, own, month_start(now)
        for client in self._limits:
            self._warn(client)

    def used(self, client: str) -> float:
        """Tokens of this month."""
        if month_start(self._now()) != self._month:
            return 0.0
        return self._sums.get(client, 0.0) + self._counted(client) - self._own_then.get(client, 0.0)

    def wait_s(self, client: str) -> int:
        """Seconds until the client has tokens again; 0 while he has."""
        limit = self._limits.get(client)
        if limit is None or self.used(client) < limit:
            return 0
        now = self._now()
        return ceil((next_month(now) - now).total_seconds())

    def metrics(self) -> Iterator[str]:
        """Lines for Prometheus."""
        for client, limit in self._limits.items():
            yield f'spillway_quota_used_ratio{{client="{client}"}} {self.used(client) / limit:.4f}'

    def _warn(self, client: str) -> None:
        share = self.used(client) / self._limits[client]
        for step in (WARN_AT, 1.0):
            if share >= step and (client, step) not in self._warned:
                LOG.warning("%s has used %.0f %% of the month's tokens", client, 100 * share)
                self._warned.add((client, step))
            elif share < step:
                self._warned.discard((client, step))
