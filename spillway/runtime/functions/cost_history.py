"""What burst has cost, by the signal's own words in CloudWatch, and what the month comes to by that.

One hour of an outage says nothing about the rest of a month: what is left of it counts at the mean of the last day, and
what burst cost while the private site was out counts against the money that the stack sets aside for outages first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from spillway.contracts import metrics
from spillway.contracts.months import month_start, next_month

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Hour:
    """Mean US dollars an hour from ``start`` on: of burst, and the part of it while the private site was out."""

    start: datetime
    burst: float
    outage: float = 0.0

    def length_h(self, now: datetime) -> float:
        """How much of it is over."""
        return min(1.0, (now - self.start) / HOUR)


def hours_left(now: datetime) -> float:
    """Hours until the end of the calendar month, UTC."""
    return (next_month(now) - now) / HOUR


def hours(cloudwatch: Any, stack: str, now: datetime) -> list[Hour]:
    """Since the month began and over the last day, oldest first. One without a word costs what the one before did."""
    start = min(month_start(now), now.replace(minute=0, second=0, microsecond=0) - DAY)
    series = [(name, {metrics.STACK: stack}) for name in (metrics.BURST_USD_PER_HOUR, metrics.OUTAGE_USD_PER_HOUR)]
    burst, outage = metrics.read_series(cloudwatch.get_metric_data, series, 3600, "Average", start, now)
    found: list[Hour] = []
    for at in sorted(burst):
        while found and found[-1].start + HOUR < at:
            found.append(replace(found[-1], start=found[-1].start + HOUR))
        found.append(Hour(at, burst[at], outage.get(at, 0.0)))
    return found


def forecast(known: list[Hour], live: float, set_aside: float, now: datetime) -> float:
    """What counts against the month's ceiling. ``live``: the rate now, for a stack that has no past;
    ``set_aside``: for outages."""
    month = [hour for hour in known if hour.start >= month_start(now)]
    spent = sum(hour.burst * hour.length_h(now) for hour in month)
    in_outages = sum(hour.outage * hour.length_h(now) for hour in month)
    within = in_outages < set_aside
    day = [hour for hour in known if hour.start > now - DAY - HOUR]
    passed = sum(hour.length_h(now) for hour in day)
    usual = sum((hour.burst - (hour.outage if within else 0.0)) * hour.length_h(now) for hour in day)
    rate = usual / passed if passed else live
    return spent - min(in_outages, set_aside) + rate * hours_left(now)
