"""A release on trial: its servers' share of the private site's requests, and when it ends.

They get it while one of them passes Envoy's checks. A block of requests is compared with what the other servers did
meanwhile; the release that fails more, or takes longer, than its rules allow gets none any more, until the gateway is
told of another. Each gateway judges by its own requests: what they say is what its clients saw.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import aiohttp

from spillway.contracts.routing import Canary, Gate, RoutingTable, SiteRoute, canary_name, listener_name
from spillway.runtime.gateway.capacity import Breakers
from spillway.runtime.gateway.envoy_admin import EnvoyAdmin

PERIOD_S: Final = 2.0
_LINE: Final = re.compile(r"^envoy_cluster_(\w+)\{([^}]*)\} ([0-9.eE+]+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
FAILED_CODES: Final = frozenset({"500", "502", "504"})
"""A full server says 503, which is no fault of its release."""


@dataclass(frozen=True)
class Counts:
    """What some servers have answered. ``timed_ms``: of the ``timed`` whose time is known, which come seconds later."""

    requests: float = 0
    failures: float = 0
    timed: float = 0
    timed_ms: float = 0

    def since(self, earlier: Counts) -> Counts:
        """What came after ``earlier``; all of it where Envoy counts from nothing again."""
        if self.requests < earlier.requests:
            return self
        return Counts(
            self.requests - earlier.requests,
            self.failures - earlier.failures,
            self.timed - earlier.timed,
            self.timed_ms - earlier.timed_ms,
        )

    def are(self, wanted: int) -> bool:
        """Whether that many requests were counted, and timed."""
        return min(self.requests, self.timed) >= wanted


def verdict(canary: Counts, others: Counts, rules: Canary) -> str | None:
    """Why the release is no good, from what both did in the same time; ``None`` while nothing says so."""
    usual = others.failures / others.requests if others.requests else 0.0
    # Failures that are too many for a whole block are too many already.
    allowed = (usual + rules.max_error_percent / 100) * max(canary.requests, rules.requests)
    if canary.failures > allowed:
        return f"{canary.failures:.0f} of {canary.requests:.0f} requests failed, of the others' {usual:.1%}"
    if canary.are(rules.requests) and others.are(rules.requests):
        took, usually = canary.timed_ms / canary.timed, others.timed_ms / others.timed
        if took > rules.max_slowdown * usually:
            return f"an answer took {took:.0f} ms, the others' {usually:.0f} ms"
    return None


class CanaryWatch:
    """One gateway's judgement. ``ended``: why the release gets no requests any more."""

    def __init__(self, table: RoutingTable, route: SiteRoute, rules: Canary, session: aiohttp.ClientSession) -> None:
        self.rules = rules
        self.percent = 0
        self.ended: str | None = None
        self._route = route
        self._breakers = Breakers(table, session)
        self._admin = EnvoyAdmin(table.listen.admin_port, session)
        self._names = {canary_name(route.site): "canary", listener_name(route.site, Gate.OPEN): "others"}
        self._before: dict[str, Counts] | None = None

    async def check(self) -> bool:
        """Look once, and tell Envoy the share: a restarted one has forgotten it. Returns whether the release ended."""
        counts = await self._counts()
        ended = self.ended is None and self._judge(counts)
        well = await self._breakers.healthy_canary(self._route)
        await self._give(self.rules.percent if well and self.ended is None else 0)
        return ended

    def _judge(self, counts: dict[str, Counts]) -> bool:
        if self._before is None:
            self._before = counts
        canary, others = (counts[name].since(self._before[name]) for name in ("canary", "others"))
        self.ended = verdict(canary, others, self.rules)
        if canary.are(self.rules.requests) and others.are(self.rules.requests):
            self._before = counts
        return self.ended is not None

    async def _counts(self) -> dict[str, Counts]:
        wanted = "|".join(re.escape(name) for name in self._names)
        # The stat's own name, before Prometheus' form.
        names = "upstream_rq_[0-9]+|upstream_rq_completed|upstream_rq_time"
        broken = "upstream_cx_connect_fail|upstream_cx_destroy_remote_with_active_rq"
        params = {"filter": rf"^cluster\.({wanted})\.({names}|{broken})$"}
        return counts_of(await self._admin.get("stats/prometheus", params), self._names)

    async def _give(self, percent: int) -> None:
        canary, others = self._names
        key = canary_name(self._route.site)
        await self._admin.set_runtime({f"{key}.{canary}": percent, f"{key}.{others}": 100 - percent})
        self.percent = percent


def counts_of(text: str, names: dict[str, str]) -> dict[str, Counts]:
    """Counts by what ``names`` calls a cluster, from Envoy's statistics in Prometheus' form."""
    found: dict[str, dict[str, float]] = {called: {} for called in names.values()}
    for metric, labels, value in _LINE.findall(text):
        given = dict(_LABEL.findall(labels))
        if field := _field(metric, given):
            counted = found[names[given["envoy_cluster_name"]]]
            counted[field] = counted.get(field, 0.0) + float(value)
    return {called: Counts(**counted) for called, counted in found.items()}


def _field(metric: str, labels: dict[str, str]) -> str | None:
    match metric:
        case "upstream_rq_completed":
            return "requests"
        case "upstream_rq" if labels.get("envoy_response_code") in FAILED_CODES:
            return "failures"
        case "upstream_cx_connect_fail" | "upstream_cx_destroy_remote_with_active_rq":
            return "failures"
        case "upstream_rq_time_count":
            return "timed"
        case "upstream_rq_time_sum":
            return "timed_ms"
        case _:
            return None
