"""How a stack stands: its sites, who answered lately, what it costs, what alarms, how the last drill ended.

One collector for the table, the JSON and the page. The sites are the twin's own word; all else is in CloudWatch, as the
deployed functions and the gateways' agents tell it: in the twin's emulated one, or in the account's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from spillway.contracts import metrics
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.names import SPILL_CUTOFF
from spillway.drill.result import DrillResult, read_result
from spillway.planner.showback import Whose
from spillway.twin.status import TwinStatus

LATELY: Final = timedelta(minutes=5)
"""Over which answers are counted, and how old what a metric says may be."""
_MINUTE_S: Final = 60
_IN_ALARM: Final = "ALARM"


@dataclass(frozen=True)
class Place:
    """What is looked at. ``prefix``: of the stack's names, and the value of CloudWatch's dimension ``Stack``.
    ``sites``: in spill order, the private one first. ``callers``: who may have asked. ``drill``: the last one's
    result."""

    stack: str
    prefix: str
    sites: tuple[str, ...]
    callers: tuple[Whose, ...]
    drill: Path


@dataclass(frozen=True)
class Clients:
    """Of AWS, by boto3: where metrics and alarms are, and the cut-off that gateways obey."""

    cloudwatch: Any
    ssm: Any


@dataclass(frozen=True)
class SiteView:
    """``state``: the twin's word, or by the metrics ``serving``, ``silent`` or ``unknown``. ``answers``: lately."""

    name: str
    well: bool
    state: str
    detail: str
    answers: float = 0.0
    usd_per_gpu_hour: float | None = None


@dataclass(frozen=True)
class Alarm:
    """``state``: CloudWatch's; ``since``: ISO 8601, UTC."""

    name: str
    state: str
    reason: str
    since: str

    @property
    def rings(self) -> bool:
        return self.state == _IN_ALARM


@dataclass(frozen=True)
class Overview:
    """``answers``: by class and site, of the last minutes, the cache's too. ``closed``: classes that may not spill.
    ``usd_per_gpu_hour``: over all sites. ``problems``: what could not be read, or run."""

    stack: str
    sites: tuple[SiteView, ...] = ()
    answers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    usd_per_gpu_hour: float | None = None
    burst_usd_per_hour: float | None = None
    alarms: tuple[Alarm, ...] = ()
    drill: DrillResult | None = None
    problems: tuple[str, ...] = ()

    @property
    def spill_share(self) -> float | None:
        """Share of what sites answered that burst sites answered; ``None`` where none did."""
        burst = sum(site.answers for site in self.sites if site.name != Site.PRIVATE)
        whole = sum(site.answers for site in self.sites)
        return burst / whole if whole else None

    @property
    def well(self) -> bool:
        """Whether every site serves. Alarms also ring for what may come of it."""
        return not self.problems and all(site.well for site in self.sites)

    def to_json(self) -> dict[str, Any]:
        """Of the drill its verdict: all of it is in its own file."""
        shown = {**asdict(self), "spill_share": self.spill_share, "well": self.well}
        drill = self.drill
        told = drill and {"plan": drill.plan, "started_at": drill.started_at, "passed": drill.passed}
        return {**shown, "drill": told}


def read_overview(place: Place, clients: Clients, twin: TwinStatus | None, now: datetime | None = None) -> Overview:
    """``twin``: ``None`` where the stack is deployed in accounts. What cannot be read is a problem that is told."""
    problems = list(twin.problems) if twin else []
    told, closed, alarms = _Told({}, {}), (), ()
    try:
        told = _told(place, clients.cloudwatch, now or datetime.now(UTC))
        alarms = _alarms(place.prefix, clients.cloudwatch)
        closed = _closed(place.prefix, clients.ssm)
    except (BotoCoreError, ClientError) as error:
        problems.append(f"AWS could not be asked: {error}")
    answers: dict[str, dict[str, float]] = {str(name): {} for name in RequestClass}
    for whose, count in told.answers.items():
        of_class = answers.setdefault(whose.request_class, {})
        of_class[whose.site] = of_class.get(whose.site, 0.0) + count
    return Overview(
        stack=place.stack,
        sites=tuple(_site(name, place, told, twin, answers) for name in place.sites),
        answers=answers,
        closed=closed,
        usd_per_gpu_hour=told.value(metrics.USD_PER_GPU_HOUR, metrics.BLENDED),
        burst_usd_per_hour=told.value(metrics.BURST_USD_PER_HOUR, ""),
        alarms=alarms,
        drill=read_result(place.drill),
        problems=tuple(problems),
    )


@dataclass(frozen=True)
class _Told:
    """What CloudWatch says: answers by whose, and newest values by metric and site."""

    answers: Mapping[Whose, float]
    values: Mapping[tuple[str, str], float]

    def value(self, metric: str, site: str) -> float | None:
        return self.values.get((metric, site))


def _told(place: Place, cloudwatch: Any, now: datetime) -> _Told:
    stack = {metrics.STACK: place.prefix}
    wanted: dict[tuple[str, str], Mapping[str, str]] = {
        (metrics.BURST_USD_PER_HOUR, ""): stack,
        (metrics.USD_PER_GPU_HOUR, metrics.BLENDED): {**stack, metrics.SITE: metrics.BLENDED},
        (metrics.PRIVATE_SERVERS, Site.PRIVATE): {metrics.GATEWAY: place.prefix},
    }
    for site in place.sites:
        wanted[metrics.USD_PER_GPU_HOUR, site] = {**stack, metrics.SITE: site}
        if site != Site.PRIVATE:
            wanted[metrics.BURST_USD_PER_HOUR, site] = {**stack, metrics.SITE: site}
    asked = [(name, dimensions) for (name, _), dimensions in wanted.items()]
    # What was told within this very second is to count.
    span = now - LATELY, now + timedelta(minutes=1)
    found = metrics.read_series(cloudwatch.get_metric_data, asked, _MINUTE_S, "Maximum", *span)
    newest = {key: values[max(values)] for key, values in zip(wanted, found, strict=True) if values}
    answered = [(metrics.ANSWERS, {**stack, **whose.dimensions}) for whose in place.callers]
    counts = metrics.read_series(cloudwatch.get_metric_data, answered, _MINUTE_S, "Sum", *span)
    answers = {whose: sum(values.values()) for whose, values in zip(place.callers, counts, strict=True) if values}
    return _Told(answers, newest)


def _alarms(prefix: str, cloudwatch: Any) -> tuple[Alarm, ...]:
    """Those that ring first."""
    kinds = ["MetricAlarm", "CompositeAlarm"]
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{prefix}-", AlarmTypes=kinds)
    found = [
        Alarm(
            one["AlarmName"].removeprefix(f"{prefix}-"),
            one["StateValue"],
            one.get("StateReason", ""),
            one["StateUpdatedTimestamp"].astimezone(UTC).isoformat(timespec="seconds"),
        )
        for page in pages
        for kind in kinds
        for one in page.get(f"{kind}s", [])
    ]
    return tuple(sorted(found, key=lambda alarm: (not alarm.rings, alarm.name)))


def _closed(prefix: str, ssm: Any) -> tuple[str, ...]:
    """Nothing where the stack has no cost guard, whose parameter it is."""
    try:
        said = ssm.get_parameter(Name=f"/{prefix}/{SPILL_CUTOFF}")["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return ()
    return tuple(json.loads(said).get("closed", ()))


def _site(
    name: str, place: Place, told: _Told, twin: TwinStatus | None, answers: Mapping[str, Mapping[str, float]]
) -> SiteView:
    count = sum(of_class.get(name, 0.0) for of_class in answers.values())
    price = told.value(metrics.USD_PER_GPU_HOUR, name)
    here = next((site for site in twin.sites if site.name == name), None) if twin else None
    if here:
        return SiteView(name, not here.late, here.state, here.detail, count, price)
    if name == Site.PRIVATE:
        servers = told.value(metrics.PRIVATE_SERVERS, name)
        state = "silent" if servers is None else "serving" if servers else "down"
        detail = "no heartbeat of its gateway" if servers is None else f"model servers up: {servers:.0f}"
        return SiteView(name, bool(servers), state, detail, count, price)
    usd = told.value(metrics.BURST_USD_PER_HOUR, name)
    state = "unknown" if usd is None else "serving" if usd else "at rest"
    detail = "the cost function said nothing of it" if usd is None else f"{usd:.2f} $/h"
    return SiteView(name, usd is not None, state, detail, count, price)
