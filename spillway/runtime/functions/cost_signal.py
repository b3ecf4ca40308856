"""The live cost signal: list price times live capacity, published each minute.

A Lambda function, configured by :class:`~spillway.contracts.function_config.CostConfig`; prices are part of that, so
that nothing is looked up at run time but the live capacity. What cannot be read is never taken for zero: for five
minutes it costs what it cost last, then what it costs at its largest (``AssumedDollarsPerHour``), so that the totals
are told always. ``CostSourceErrors`` names the source, ``CostSignalErrors`` and ``PricesMissing`` count, and the
invocation fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.contracts import metrics
from spillway.contracts.function_config import CostConfig, PrivateMachines
from spillway.runtime.functions.aws import client
from spillway.runtime.functions.cost_history import forecast, hours
from spillway.runtime.functions.gateway_capacity import publish_live
from spillway.runtime.functions.site import CapacityError, Live, site_api

RISE_OVER = timedelta(minutes=15)
SILENT_FOR = timedelta(minutes=3)
"""Without a heartbeat for so long, the private site is out."""
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
    """What live capacity costs: US dollars. ``assumed``: of sites that could not be read, within ``burst_per_hour``."""

    burst_per_hour: float
    by_site: Mapping[str, float]
    assumed: Mapping[str, float]
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
        assumed = {site: assume(config, site, now) for site in burst.failed}
        signal = compute(private, burst.capacity, assumed)
        values += signal_values(signal, lowest_lately(config.stack, now), whole=not failed)
        values += month_values(config, signal.burst_per_hour, now)
        if failed:
            raise CapacityError("; ".join(f"{source}: {error}" for source, error in failed.items()))
    except Exception:
        publish(client("cloudwatch"), config.stack, [*values, Value(metrics.COST_SIGNAL_ERRORS, 1.0)])
        log.exception("the cost signal could not be computed")
        raise
    publish(client("cloudwatch"), config.stack, [*values, Value(metrics.COST_SIGNAL_ERRORS, 0.0)])
    return {"burst": signal.burst_per_hour, "per_gpu": dict(signal.per_gpu_hour)}


@dataclass(frozen=True)
class Value:
    """One value of a metric, with the dimensions that it has besides ``Stack``."""

    metric: str
    value: float
    dimensions: Mapping[str, str] = field(default_factory=dict)


def signal_values(signal: Signal, lowest: float | None, whole: bool) -> list[Value]:
    """``lowest``: of the last minutes, ``None`` where there was nothing yet. ``whole``: whether all of it was read; a
    price of a GPU is nothing to assume."""
    values = [Value(metrics.BURST_USD_PER_HOUR, signal.burst_per_hour)]
    values += [Value(metrics.BURST_USD_PER_HOUR, usd, {metrics.SITE: site}) for site, usd in signal.by_site.items()]
    told = {**dict.fromkeys(signal.by_site, 0.0), **signal.assumed}
    values += [Value(metrics.ASSUMED_USD_PER_HOUR, usd, {metrics.SITE: site}) for site, usd in told.items()]
    if lowest is not None:
        values.append(Value(metrics.BURST_RISE_USD_PER_HOUR, max(0.0, signal.burst_per_hour - lowest)))
    per_gpu = signal.per_gpu_hour.items() if whole else ()
    return values + [Value(metrics.USD_PER_GPU_HOUR, value, {metrics.SITE: site}) for site, value in per_gpu]


def month_values(config: CostConfig, burst: float, now: datetime) -> list[Value]:
    """The month's forecast, and what burst costs now because the private site is out."""
    is_out = not _recent(metrics.HEARTBEAT, {metrics.GATEWAY: config.gateway}, now, SILENT_FOR, "Sum")
    known = hours(client("cloudwatch"), config.stack, now)
    return [
        Value(metrics.OUTAGE_USD_PER_HOUR, burst if is_out else 0.0),
        Value(metrics.FORECAST_USD_PER_MONTH, forecast(known, burst, config.outage_usd, now)),
    ]


def assume(config: CostConfig, site: str, now: datetime) -> float:
    """What a site costs that cannot be read: what it did within the last minutes, else all that it may grow to."""
    own = {metrics.STACK: config.stack, metrics.SITE: site}
    lately = _recent(metrics.BURST_USD_PER_HOUR, own, now, FRESH, "Maximum")
    return lately[0] if lately else config.sites[site].most_usd_per_hour


def errors_of(config: CostConfig, failed: Mapping[str, Exception]) -> list[Value]:
    """0 for each source that was read, 1 for each that was not; and how many prices are missing."""
    sources = ["private", *config.sites]
    missing = sum(isinstance(error, PriceMissingError) for error in failed.values())
    told = [Value(metrics.COST_SOURCE_ERRORS, float(source in failed), {metrics.SOURCE: source}) for source in sources]
    return [*told, Value(metrics.PRICES_MISSING, float(missing))]


def compute(private: Mapping[str, Any], live: Iterable[Capacity], assumed: Mapping[str, float]) -> Signal:
    """Burst: ``Σ(price × instances)``, and what is assumed of sites that could not be read. $/GPU-hour:
    ``Σ(price × instances) ÷ Σ(GPUs)`` per site with GPUs, and over all of them."""
    owned = Capacity("private", 1, private["usd_per_hour"], private["gpus"])
    burst = list(live)
    by_site = {
        site: sum(one.usd_per_hour * one.instances for one in burst if one.site == site)
        for site in sorted({one.site for one in burst} - assumed.keys())
    }
    sites = {one.site for one in burst} | {"private"}
    per_gpu = {site: _per_gpu([one for one in [owned, *burst] if one.site == site]) for site in sorted(sites)}
    per_gpu["blended"] = _per_gpu([owned, *burst])
    return Signal(
        burst_per_hour=sum(by_site.values()) + sum(assumed.values()),
        by_site=by_site,
        assumed=dict(assumed),
        per_gpu_hour={site: value for site, value in per_gpu.items() if value is not None},
    )


def _per_gpu(capacity: list[Capacity]) -> float | None:
    gpus = sum(one.gpus * one.instances for one in capacity)
    return sum(one.usd_per_hour * one.instances for one in capacity) / gpus if gpus else None


def lowest_lately(stack: str, now: datetime) -> float | None:
    """The lowest burst rate of the last quarter of an hour."""
    values = _recent(metrics.BURST_USD_PER_HOUR, {metrics.STACK: stack}, now, RISE_OVER, "Minimum")
    return min(values) if values else None


def _recent(metric: str, dimensions: Mapping[str, str], now: datetime, over: timedelta, statistic: str) -> list[float]:
    """Values of the last minutes, one a minute, newest first."""
    answer = client("cloudwatch").get_metric_data(
        MetricDataQueries=[metrics.query_of((metric, dimensions), 60, statistic)],
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
