"""What a running stack's metrics say about the past, and what it would have cost with other sizes.

The metrics are those that the cost function publishes each minute (namespace ``Spillway``, dimension ``Stack``):
``BurstDollarsPerHour`` and, by ``Site``, ``DollarsPerGpuHour``. Burst dollars an hour divided by an instance's price is
the number of instances that ran. No request is in them, so what other sizes would have done to latency is not said:
that takes a trace and ``spillway plan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from spillway.contracts import metrics
from spillway.contracts.prices import HOURS_PER_MONTH
from spillway.planner.errors import PlannerError

PERIOD_S: Final = 3600
_MONTH_DAYS: Final = 30


@dataclass(frozen=True)
class Hour:
    """``burst``: US dollars an hour, the hour's mean. ``blended``: US dollars a GPU-hour over all sites, if known."""

    begin: datetime
    burst: float
    blended: float | None


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
class Sizes:
    """What runs: private US dollars an hour whatever happens; one burst instance's price, and how many at least and at
    most."""

    private_usd_per_hour: float
    burst_usd_per_hour: float
    min_burst: int
    max_burst: int


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


def read_history(cloudwatch: Any, stack: str, now: datetime, days: int = _MONTH_DAYS) -> History:
    """``cloudwatch``: a boto3 client. ``stack``: the value of the dimension ``Stack``.

    Raises :class:`PlannerError` when there is no metric at all: a cost of 0 is never made up.
    """
    if now.tzinfo is None:
        now = now.replace(tzinfo=UTC)
    if days < 1:
        raise PlannerError(f"{days} days: a report needs one or more")
    begin = (now - timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    burst, blended = metrics.read_series(
        cloudwatch.get_metric_data,
        [
            (metrics.BURST_USD_PER_HOUR, {metrics.STACK: stack}),
            (metrics.USD_PER_GPU_HOUR, {metrics.STACK: stack, metrics.SITE: metrics.BLENDED}),
        ],
        PERIOD_S,
        "Average",
        begin,
        now,
    )
    if not burst:
        raise PlannerError(
            f"CloudWatch has no {metrics.NAMESPACE}/{metrics.BURST_USD_PER_HOUR} of stack {stack!r} in the last {days} "
            "days; the cost function publishes it each minute: is the name right, and does the function run?"
        )
    hours = tuple(Hour(at, value, blended.get(at)) for at, value in sorted(burst.items()))
    return History(stack, hours, int((now - begin).total_seconds() // 3600))


def what_if(history: History, now: Sizes) -> list[WhatIf]:
    """What a month like those hours costs as it is, and with other burst bounds; the burst that ran is the demand.

    A higher minimum is paid for in every hour. A lower maximum cuts what ran above it, and those hours are told.
    """
    _check(now)
    least, most = now.min_burst, now.max_burst
    choices = {
        "as it is": (least, most),
        "one burst instance fewer at least": (max(0, least - 1), most),
        "one more at least": (least + 1, max(most, least + 1)),
        "half the most": (min(least, max(1, most // 2)), max(1, most // 2)),
        "no burst": (0, 0),
    }
    found = []
    for name, (low, high) in choices.items():
        if name != "as it is" and (low, high) == (least, most):
            continue
        found.append(_priced(history, now, name, low, high))
    return found


def _priced(history: History, sizes: Sizes, name: str, low: int, high: int) -> WhatIf:
    def paid(hour: Hour) -> float:
        ran = hour.burst / sizes.burst_usd_per_hour
        # At the minimum the endpoint may have been idle: with a lower one it would have gone down to that.
        wanted = low if ran <= sizes.min_burst + 1e-6 else ran
        return min(max(wanted, low), high) * sizes.burst_usd_per_hour

    short = sum(hour.burst / sizes.burst_usd_per_hour > high + 1e-6 for hour in history.hours)
    mean = sum(map(paid, history.hours)) / len(history.hours)
    return WhatIf(name, (mean + sizes.private_usd_per_hour) * HOURS_PER_MONTH, short / len(history.hours))


def _check(sizes: Sizes) -> None:
    if sizes.burst_usd_per_hour <= 0:
        raise PlannerError(f"a burst instance at {sizes.burst_usd_per_hour} $/h: its price has to be above 0")
    if not 0 <= sizes.min_burst <= sizes.max_burst:
        raise PlannerError(f"burst from {sizes.min_burst} to {sizes.max_burst} instances: out of order")


def history_json(history: History, choices: Sequence[WhatIf]) -> dict[str, Any]:
    return {
        "stack": history.stack,
        "hours": len(history.hours),
        "covered": round(history.covered, 4),
        "burst_usd_per_hour": round(history.mean_burst, 4),
        "blended_usd_per_gpu_hour": None if history.mean_blended is None else round(history.mean_blended, 4),
        "what_if": [choice.to_json() for choice in choices],
    }
