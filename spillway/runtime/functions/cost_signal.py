"""The live cost signal: list price times live capacity, published each minute.

A Lambda function, configured by :class:`~spillway.contracts.function_config.CostConfig`; prices are part of that, so
that nothing is looked up at run time but the live capacity. What cannot be read is never taken for zero:
``CostSourceErrors`` names the source, ``CostSignalErrors`` and ``PricesMissing`` count, the totals are left out, and
the invocation fails. One thing is still said then: what is known, where that alone is above the ceiling.
"""

from __future__ import annotations

import calendar
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.contracts import metrics
from spillway.contracts.function_config import CostConfig, PrivateMachines
from spillway.runtime.functions.aws import client
from spillway.runtime.functions.gateway_capacity import publish_live
from spillway.runtime.functions.site import CapacityError, Live, site_api

RISE_OVER = timedelta(minutes=15)
FRESH = timedelta(minutes=5)
"""How old the private cluster's own figures may be."""

log = logging.getLogger(__name__)


class PriceMissingError(CapacityError):
    """Capacity runs whose price nobody knows."""


@dataclass(frozen=True)
class Capacity:
    """Live instances of one kind: ``usd_per_hour`` and ``gpus`` are of one instance."""

    site: str
    instances: int
    usd_per_hour: float
    gpus: int


def priced(config: CostConfig, site: str, live: Live) -> Capacity:
    """Raises :class:`PriceMissingError`, unless there is no instance."""
    found = config.prices.get(live.instance_type)
    if found is None:
        if live.instances == 0:
            return Capacity(site, 0, 0.0, 0)
        raise PriceMissingError(f"{site}: {live.instances} {live.instance_type} run, and its price is not known")
    return Capacity(site, live.instances, found[0], found[1])


@dataclass(frozen=True)
class Signal:
    """What is published: US dollars."""

    burst_per_hour: float
    forecast_month: float
    per_gpu_hour: Mapping[str, float]


@dataclass(frozen=True)
class Burst:
    """``live``: what was read, by site; ``capacity``: with its price. ``failed``: by source, why the rest was not."""

    live: Mapping[str, list[Live]]
    capacity: tuple[Capacity, ...]
    failed: Mapping[str, Exception]


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Read, compute, publish. Raises when anything could not be read."""
    config, now = CostConfig.from_environment(), datetime.now(UTC)
    burst = read_burst(config)
    try:
        return _signal(config, burst, now)
    finally:
        publish_live(client("ssm"), config.live_parameter, burst.live, now.timestamp())


def _signal(config: CostConfig, burst: Burst, now: datetime) -> dict[str, Any]:
    values: list[Value] = []
    try:
        private, failed = live_private(config, now)
        failed = {**burst.failed, **failed}
        for source, error in failed.items():
            log.error("%s could not be read: %s", source, error)
        values += errors_of(config, failed)
        values += tokens_of(config, private, now)
        if failed:
            values += known_part(config, burst.capacity)
            raise CapacityError("; ".join(f"{source}: {error}" for source, error in failed.items()))
        lowest, spent = lowest_lately(config.stack, now), spent_this_month(client("cloudwatch"), config.stack, now)
        signal = compute(private, burst.capacity, spent, now)
        values += signal_values(signal, lowest)
    except Exception:
        publish(client("cloudwatch"), config.stack, [*values, Value(metrics.COST_SIGNAL_ERRORS, 1.0)])
        log.exception("the cost signal could not be computed")
        raise
    publish(client("cloudwatch"), config.stack, [*values, Value(metrics.COST_SIGNAL_ERRORS, 0.0)])
    return {"burst": signal.burst_per_hour, "forecast": signal.forecast_month, "per_gpu": dict(signal.per_gpu_hour)}


@dataclass(frozen=True)
class Value:
    """One value of a metric, with the dimensions that it has besides ``Stack``."""

    metric: str
    value: float
    dimensions: Mapping[str, str] = field(default_factory=dict)


def signal_values(signal: Signal, lowest: float | None) -> list[Value]:
    """``lowest``: of the last minutes, ``None`` where there was nothing yet."""
    values = [
        Value(metrics.BURST_USD_PER_HOUR, signal.burst_per_hour),
        Value(metrics.FORECAST_USD_PER_MONTH, signal.forecast_month),
    ]
    if lowest is not None:
        values.append(Value(metrics.BURST_RISE_USD_PER_HOUR, max(0.0, signal.burst_per_hour - lowest)))
    return values + [
        Value(metrics.USD_PER_GPU_HOUR, value, {metrics.SITE: site}) for site, value in signal.per_gpu_hour.items()
    ]


def errors_of(config: CostConfig, failed: Mapping[str, Exception]) -> list[Value]:
    """0 for each source that was read, 1 for each that was not; and how many prices are missing."""
    sources = ["private", *config.sites]
    missing = sum(isinstance(error, PriceMissingError) for error in failed.values())
    told = [Value(metrics.COST_SOURCE_ERRORS, float(source in failed), {metrics.SOURCE: source}) for source in sources]
    return [*told, Value(metrics.PRICES_MISSING, float(missing))]


def known_part(config: CostConfig, burst: Iterable[Capacity]) -> list[Value]:
    """What is known of burst, where that alone is above the ceiling: the whole can only be more."""
    known = sum(one.usd_per_hour * one.instances for one in burst)
    return [Value(metrics.BURST_USD_PER_HOUR, known)] if known > config.ceiling else []


def compute(private: Mapping[str, Any], live: Iterable[Capacity], spent: float, now: datetime) -> Signal:
    """Burst: ``Σ(price × instances)``. The month: what was spent, and the rest of it at the live rate. $/GPU-hour:
    ``Σ(price × instances) ÷ Σ(GPUs)`` per site with GPUs, and over all of them."""
    owned = Capacity("private", 1, private["usd_per_hour"], private["gpus"])
    burst = list(live)
    per_hour = sum(one.usd_per_hour * one.instances for one in burst)
    sites = {one.site for one in burst} | {"private"}
    per_gpu = {site: _per_gpu([one for one in [owned, *burst] if one.site == site]) for site in sorted(sites)}
    per_gpu["blended"] = _per_gpu([owned, *burst])
    return Signal(
        burst_per_hour=per_hour,
        forecast_month=spent + per_hour * hours_left(now),
        per_gpu_hour={site: value for site, value in per_gpu.items() if value is not None},
    )


def _per_gpu(capacity: list[Capacity]) -> float | None:
    gpus = sum(one.gpus * one.instances for one in capacity)
    return sum(one.usd_per_hour * one.instances for one in capacity) / gpus if gpus else None


def hours_left(now: datetime) -> float:
    """Hours until the end of the calendar month, UTC."""
    days = calendar.monthrange(now.year, now.month)[1]
    passed = (now - month_start(now)).total_seconds() / 3600
    return max(0.0, days * 24 - passed)


def month_start(now: datetime) -> datetime:
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def spent_this_month(cloudwatch: Any, stack: str, now: datetime) -> float:
    """Burst dollars since the month began: the sum of the signal's own hourly averages."""
    query = _query(metrics.BURST_USD_PER_HOUR, {metrics.STACK: stack}, 3600, "Average")
    total, token = 0.0, None
    while True:
        page = {"NextToken": token} if token else {}
        answer = cloudwatch.get_metric_data(MetricDataQueries=[query], StartTime=month_start(now), EndTime=now, **page)
        for result in answer["MetricDataResults"]:
            total += sum(
                value * min(1.0, (now - hour).total_seconds() / 3600)
                for hour, value in zip(result["Timestamps"], result["Values"], strict=True)
            )
        token = answer.get("NextToken")
        if not token:
            return total


def lowest_lately(stack: str, now: datetime) -> float | None:
    """The lowest burst rate of the last quarter of an hour."""
    values = _recent(metrics.BURST_USD_PER_HOUR, {metrics.STACK: stack}, now, RISE_OVER, "Minimum")
    return min(values) if values else None


def _query(metric: str, dimensions: Mapping[str, str], period_s: int, statistic: str) -> dict[str, Any]:
    listed = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    named = {"Namespace": metrics.NAMESPACE, "MetricName": metric, "Dimensions": listed}
    return {"Id": "value", "MetricStat": {"Metric": named, "Period": period_s, "Stat": statistic}}


def _recent(metric: str, dimensions: Mapping[str, str], now: datetime, over: timedelta, statistic: str) -> list[float]:
    """Values of the last minutes, one a minute, newest first."""
    answer = client("cloudwatch").get_metric_data(
        MetricDataQueries=[_query(metric, dimensions, 60, statistic)],
        StartTime=now - over,
        # What was published within this very second is to count.
        EndTime=now + timedelta(minutes=1),
        ScanBy="TimestampDescending",
    )
    return [value for result in answer["MetricDataResults"] for value in result["Values"]]


# Live capacity


def read_burst(config: CostConfig) -> Burst:
    """Each site by itself: one that fails takes nothing from the others."""
    live: dict[str, list[Live]] = {}
    found: list[Capacity] = []
    failed: dict[str, Exception] = {}
    for site, source in config.sites.items():
        try:
            live[site] = site_api(source.module).read(source.asked)
            found += [priced(config, site, one) for one in live[site]]
        except Exception as error:
            failed[site] = error
    return Burst(live, tuple(found), failed)


def live_private(config: CostConfig, now: datetime) -> tuple[dict[str, Any], dict[str, Exception]]:
    """``{gpus, usd_per_hour}`` of the private site, and what went wrong. GPUs count while a model server on them is up,
    as the cluster's own gateway says. Machines of one's own cost the same whether they work or not; ``elastic`` ones
    cost what is up, and at least what the pool starts with."""
    owned: PrivateMachines = config.private
    usd_per_hour = owned.gpus * owned.usd_per_gpu_hour
    configured = {"gpus": owned.gpus, "usd_per_hour": usd_per_hour}
    if not owned.gpus_per_server:
        return configured, {}
    servers = _recent(metrics.PRIVATE_SERVERS, {metrics.GATEWAY: config.gateway}, now, FRESH, "Maximum")
    if not servers:
        return configured, {"private": CapacityError("the private cluster has not said how many servers it has")}
    live = round(servers[0]) * owned.gpus_per_server
    if owned.elastic:
        return {"gpus": live, "usd_per_hour": max(live, owned.gpus) * owned.usd_per_gpu_hour}, {}
    return {"gpus": min(owned.gpus, live), "usd_per_hour": usd_per_hour}, {}


def tokens_of(config: CostConfig, private: Mapping[str, Any], now: datetime) -> list[Value]:
    """$/1 M tokens of the private site, whose vLLM servers count them; nothing where no token was counted."""
    counted = (
        _recent(metrics.PRIVATE_TOKENS, {metrics.GATEWAY: config.gateway}, now, FRESH, "Average")
        if config.gateway
        else []
    )
    per_hour = sum(counted) / len(counted) * 60 if counted else 0.0
    if per_hour <= 0:
        return []
    return [Value(metrics.USD_PER_MILLION_TOKENS, private["usd_per_hour"] / per_hour * 1e6, {metrics.SITE: "private"})]


def publish(cloudwatch: Any, stack: str, values: Iterable[Value]) -> None:
    """Put them with the dimension ``Stack`` and their own."""
    data = []
    for one in values:
        dimensions = [
            {"Name": name, "Value": value} for name, value in {metrics.STACK: stack, **one.dimensions}.items()
        ]
        data.append({"MetricName": one.metric, "Value": one.value, "Unit": "None", "Dimensions": dimensions})
    cloudwatch.put_metric_data(Namespace=metrics.NAMESPACE, MetricData=data)
