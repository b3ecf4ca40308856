"""What a running stack's metrics say about the past, and what it would have cost with other sizes.

The metrics are those that the cost function publishes each minute (namespace ``Spillway``, dimension ``Stack``):
``BurstDollarsPerHour``, all together and by ``Site``, and ``DollarsPerGpuHour``. A site's dollars an hour divided by an
instance's price is the number of instances that ran. No request is in them, so what other sizes would have done to
latency is not said: that takes a trace and ``spillway plan``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from spillway.contracts import metrics
from spillway.contracts.prices import HOURS_PER_MONTH
from spillway.planner.errors import PlannerError

PERIOD_S: Final = 3600
_MONTH_DAYS: Final = 30
_NEAR: Final = 1e-6


@dataclass(frozen=True)
class Hour:
    """``burst``: US dollars an hour, the hour's mean; ``by_site``: the same, as far as it was told. ``blended``: US
    dollars a GPU-hour over all sites, if known."""

    begin: datetime
    burst: float
    blended: float | None
    by_site: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """Hours that have metrics, in order, out of ``expected``. Means are over the hours there are."""

    stack: str
    hours: tuple[Hour, ...]
    expected: int

    @property
    def covered(self) -> float:
        """Share of the hours that have metrics."""
        return len(self.hours) / self.expected if self.expected else 0.0

    @property
    def mean_burst(self) -> float:
        return sum(hour.burst for hour in self.hours) / len(self.hours)

    @property
    def mean_blended(self) -> float | None:
        known = [hour.blended for hour in self.hours if hour.blended is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Fleet:
    """A burst site: US dollars an hour of one instance that answers, and how many of them at least and at most. What
    else the site has is counted in such instances."""

    site: str
    usd_per_hour: float
    least: float
    most: float


@dataclass(frozen=True)
class Sizes:
    """What runs: private US dollars an hour whatever happens, and the burst sites, each at its own price."""

    private_usd_per_hour: float
    fleets: tuple[Fleet, ...]


@dataclass(frozen=True)
class WhatIf:
    """``month``: US dollars. ``short_hours``: share of the hours in which more burst ran than these sizes allow."""

    name: str
    month: float
    short_hours: float

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "usd_per_month": round(self.month, 2), "short_hours": round(self.short_hours, 4)}


def aws_client(service: str, region: str, endpoint_url: str | None = None) -> Any:
    """A boto3 client. ``endpoint_url``: of a stand-in, which takes any credentials: the real account's stay here. It
    answers or is gone, so that it is asked once."""
    import boto3
    from botocore.config import Config

    if endpoint_url is None:
        return boto3.client(service, region_name=region)
    stand_in = {"endpoint_url": endpoint_url, "aws_access_key_id": "twin", "aws_secret_access_key": "twin"}
    once = Config(retries={"total_max_attempts": 1})
    return boto3.client(service, region_name=region, config=once, **stand_in)


def read_history(
    cloudwatch: Any, stack: str, now: datetime, days: int = _MONTH_DAYS, sites: Sequence[str] = ()
) -> History:
    """``cloudwatch``: a boto3 client. ``stack``: the value of the dimension ``Stack``. ``sites``: burst sites.

    Raises :class:`PlannerError` when there is no metric at all: a cost of 0 is never made up.
    """
    if now.tzinfo is None:
        now = now.replace(tzinfo=UTC)
    if days < 1:
        raise PlannerError(f"{days} days: a report needs one or more")
    begin = (now - timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    own = {metrics.STACK: stack}
    wanted = [
        (metrics.BURST_USD_PER_HOUR, own),
        (metrics.USD_PER_GPU_HOUR, {**own, metrics.SITE: metrics.BLENDED}),
        *((metrics.BURST_USD_PER_HOUR, {**own, metrics.SITE: site}) for site in sites),
    ]
    burst, blended, *each = metrics.read_series(cloudwatch.get_metric_data, wanted, PERIOD_S, "Average", begin, now)
    if not burst:
        raise PlannerError(
            f"CloudWatch has no {metrics.NAMESPACE}/{metrics.BURST_USD_PER_HOUR} of stack {stack!r} in the last {days} "
            "days; the cost function publishes it each minute: is the name right, and does the function run?"
        )
    hours = tuple(
        Hour(at, value, blended.get(at), {site: of[at] for site, of in zip(sites, each, strict=True) if at in of})
        for at, value in sorted(burst.items())
    )
    return History(stack, hours, int((now - begin).total_seconds() // 3600))


def what_if(history: History, now: Sizes) -> list[WhatIf]:
    """What a month like those hours costs as it is, and with other burst bounds; the burst that ran is the demand.

    A higher minimum is paid for in every hour. A lower maximum cuts what ran above it, and those hours are told.
    """
    for fleet in now.fleets:
        _check(fleet)
    found = [WhatIf("as it is", (history.mean_burst + now.private_usd_per_hour) * HOURS_PER_MONTH, 0.0)]
    for fleet in now.fleets:
        for words, bounds in _others(fleet).items():
            if bounds != (fleet.least, fleet.most):
                found.append(_priced(history, now, f"{fleet.site}: {words}", {fleet.site: bounds}))
    nowhere = {fleet.site: (0.0, 0.0) for fleet in now.fleets}
    return [*found, _priced(history, now, "no burst, and nobody answers what it did", nowhere)]


def _others(fleet: Fleet) -> dict[str, tuple[float, float]]:
    half = max(1.0, fleet.most // 2)
    return {
        "one fewer at least": (max(0.0, fleet.least - 1), fleet.most),
        "one more at least": (fleet.least + 1, max(fleet.most, fleet.least + 1)),
        "half the most": (min(fleet.least, half), half),
    }


def _priced(history: History, sizes: Sizes, name: str, bounds: Mapping[str, tuple[float, float]]) -> WhatIf:
    """With other ``bounds`` of some sites."""
    changed = [fleet for fleet in sizes.fleets if fleet.site in bounds]
    saved, short = 0.0, 0
    for hour in history.hours:
        missed = False
        for fleet in changed:
            usd, (low, high) = _usd(hour, fleet, sizes), bounds[fleet.site]
            ran = usd / fleet.usd_per_hour
            # At the minimum the endpoint may have been idle: with a lower one it would have gone down to that.
            wanted = low if ran <= fleet.least + _NEAR else ran
            saved += usd - min(max(wanted, low), high) * fleet.usd_per_hour
            missed = missed or ran > high + _NEAR
        short += missed
    count = len(history.hours)
    mean = history.mean_burst - saved / count
    return WhatIf(name, (mean + sizes.private_usd_per_hour) * HOURS_PER_MONTH, short / count)


def _usd(hour: Hour, fleet: Fleet, sizes: Sizes) -> float:
    """What the site cost in that hour. What the signal did not tell by site is the untold sites', by their minima."""
    if fleet.site in hour.by_site:
        return hour.by_site[fleet.site]
    untold = [one for one in sizes.fleets if one.site not in hour.by_site]
    rest = max(0.0, hour.burst - sum(hour.by_site.values()))
    weights = [max(one.least, _NEAR) * one.usd_per_hour for one in untold]
    return rest * max(fleet.least, _NEAR) * fleet.usd_per_hour / sum(weights)


def _check(fleet: Fleet) -> None:
    if fleet.usd_per_hour <= 0:
        raise PlannerError(f"{fleet.site}: an instance at {fleet.usd_per_hour} $/h: its price has to be above 0")
    if not 0 <= fleet.least <= fleet.most:
        raise PlannerError(f"{fleet.site}: from {fleet.least:g} to {fleet.most:g} instances: out of order")


def history_json(history: History, choices: Sequence[WhatIf]) -> dict[str, Any]:
    return {
        "stack": history.stack,
        "hours": len(history.hours),
        "covered": round(history.covered, 4),
        "burst_usd_per_hour": round(history.mean_burst, 4),
        "blended_usd_per_gpu_hour": None if history.mean_blended is None else round(history.mean_blended, 4),
        "what_if": [choice.to_json() for choice in choices],
    }
