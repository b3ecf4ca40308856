"""The live cost signal: list price times live capacity, published each minute.

A Lambda function. Its configuration is the JSON in the environment variable ``SPILLWAY_COST`` (see :class:`Config`);
prices are part of it, so that nothing is looked up at run time but the live capacity. What cannot be read is never
taken for zero: ``CostSourceErrors`` names the source, ``CostSignalErrors`` and ``PricesMissing`` count, the totals are
left out, and the invocation fails. One thing is still said then: what is known, where that alone is above the ceiling.
"""

from __future__ import annotations

import calendar
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.runtime import azure_api
from spillway.runtime.aws_api import client, secret

NAMESPACE = "Spillway"
BURST = "BurstDollarsPerHour"
RISE = "BurstDollarsPerHourRise"
FORECAST = "ForecastMonthDollars"
PER_GPU = "DollarsPerGpuHour"
PER_TOKENS = "DollarsPerMillionTokens"
ERRORS = "CostSignalErrors"
SOURCE_ERRORS = "CostSourceErrors"
PRICES_MISSING = "PricesMissing"
SERVERS = "PrivateServers"
TOKENS = "PrivateTokensPerMinute"
RISE_OVER = timedelta(minutes=15)
FRESH = timedelta(minutes=5)
"""How old the private cluster's own figures may be."""

log = logging.getLogger(__name__)


class CapacityError(RuntimeError):
    """Live capacity could not be read."""


class PriceMissingError(CapacityError):
    """Capacity runs whose price nobody knows."""


@dataclass(frozen=True)
class Capacity:
    """Live instances of one kind: ``usd_per_hour`` and ``gpus`` are of one instance."""

    site: str
    instances: int
    usd_per_hour: float
    gpus: int


@dataclass(frozen=True)
class Config:
    """``prices``: ``[US dollars an hour, GPUs]`` by instance type. ``sagemaker``: endpoint names; ``azure``: ``{url,
    field, size}`` each, the latter two being paths in the answer, of the instance count and of the machines' size;
    ``azure_secret``: Secrets Manager ARN of ``{tenant_id, client_id, client_secret}``;
    ``private``: ``{gpus, usd_per_gpu_hour, gpus_per_server, elastic}``, the third ``null`` where the cluster says
    nothing about itself; ``gateway``: under which name it does; ``ceiling``: of burst, US dollars an hour."""

    stack: str
    private: Mapping[str, Any]
    ceiling: float = float("inf")
    gateway: str = ""
    prices: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    sagemaker: tuple[str, ...] = ()
    azure: tuple[Mapping[str, Any], ...] = ()
    azure_secret: str | None = None

    @classmethod
    def from_environment(cls) -> Config:
        values = json.loads(os.environ["SPILLWAY_COST"])
        lists = {key: tuple(values.get(key, ())) for key in ("sagemaker", "azure")}
        return cls(**{**values, **lists})

    def priced(self, site: str, instance_type: str, instances: int) -> Capacity:
        """Raises :class:`PriceMissingError`, unless there is no instance."""
        found = self.prices.get(instance_type)
        if found is None:
            if instances == 0:
                return Capacity(site, 0, 0.0, 0)
            raise PriceMissingError(f"{site}: {instances} {instance_type} run, and its price is not known")
        return Capacity(site, instances, found[0], found[1])


@dataclass(frozen=True)
class Signal:
    """What is published: US dollars."""

    burst_per_hour: float
    forecast_month: float
    per_gpu_hour: Mapping[str, float]


@dataclass(frozen=True)
class Live:
    """``burst``: what was read. ``failed``: by source, why the rest was not."""

    burst: tuple[Capacity, ...]
    failed: Mapping[str, Exception]


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Read, compute, publish. Raises when anything could not be read."""
    config, now = Config.from_environment(), datetime.now(UTC)
    values: list[Value] = []
    try:
        live = read_live(config)
        private, failed = live_private(config, now)
        failed = {**live.failed, **failed}
        for source, error in failed.items():
            log.error("%s could not be read: %s", source, error)
        values += errors_of(config, failed)
        values += tokens_of(config, private, now)
        if failed:
            values += known_part(config, live.burst)
            raise CapacityError("; ".join(f"{source}: {error}" for source, error in failed.items()))
        lowest, spent = lowest_lately(config.stack, now), spent_this_month(client("cloudwatch"), config.stack, now)
        signal = compute(private, live.burst, spent, now)
        values += signal_values(signal, lowest)
    except Exception:
        publish(client("cloudwatch"), config.stack, [*values, Value(ERRORS, 1.0)])
        log.exception("the cost signal could not be computed")
        raise
    publish(client("cloudwatch"), config.stack, [*values, Value(ERRORS, 0.0)])
    return {"burst": signal.burst_per_hour, "forecast": signal.forecast_month, "per_gpu": dict(signal.per_gpu_hour)}


@dataclass(frozen=True)
class Value:
    """One value of a metric, with the dimensions that it has besides ``Stack``."""

    metric: str
    value: float
    dimensions: Mapping[str, str] = field(default_factory=dict)


def signal_values(signal: Signal, lowest: float | None) -> list[Value]:
    """``lowest``: of the last minutes, ``None`` where there was nothing yet."""
    values = [Value(BURST, signal.burst_per_hour), Value(FORECAST, signal.forecast_month)]
    if lowest is not None:
        values.append(Value(RISE, max(0.0, signal.burst_per_hour - lowest)))
    return values + [Value(PER_GPU, value, {"Site": site}) for site, value in signal.per_gpu_hour.items()]


def errors_of(config: Config, failed: Mapping[str, Exception]) -> list[Value]:
    """0 for each source that was read, 1 for each that was not; and how many prices are missing."""
    sources = ["private", *(["sagemaker"] if config.sagemaker else []), *(["azure_ml"] if config.azure else [])]
    missing = sum(isinstance(error, PriceMissingError) for error in failed.values())
    told = [Value(SOURCE_ERRORS, float(source in failed), {"Source": source}) for source in sources]
    return [*told, Value(PRICES_MISSING, float(missing))]


def known_part(config: Config, burst: Iterable[Capacity]) -> list[Value]:
    """What is known of burst, where that alone is above the ceiling: the whole can only be more."""
    known = sum(one.usd_per_hour * one.instances for one in burst)
    return [Value(BURST, known)] if known > config.ceiling else []


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
    query = _query(BURST, {"Stack": stack}, 3600, "Average")
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
    values = _recent(BURST, {"Stack": stack}, now, RISE_OVER, "Minimum")
    return min(values) if values else None


def _query(metric: str, dimensions: Mapping[str, str], period_s: int, statistic: str) -> dict[str, Any]:
    listed = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    named = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": listed}
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


def read_live(config: Config) -> Live:
    """Each source by itself: one that fails takes nothing from the others."""
    sources: dict[str, Callable[[], list[Capacity]]] = {}
    if config.sagemaker:
        sources["sagemaker"] = lambda: read_sagemaker(client("sagemaker"), config)
    if config.azure:
        sources["azure_ml"] = lambda: read_azure(config, azure_api.token(secret(str(config.azure_secret))))
    burst: list[Capacity] = []
    failed: dict[str, Exception] = {}
    for source, read in sources.items():
        try:
            burst += read()
        except Exception as error:
            failed[source] = error
    return Live(tuple(burst), failed)


def read_sagemaker(sagemaker: Any, config: Config) -> list[Capacity]:
    """Live instances of every variant of each endpoint, at the price of the type that it really has."""
    found = []
    for name in config.sagemaker:
        endpoint = sagemaker.describe_endpoint(EndpointName=name)
        live = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
        types = {v["VariantName"]: v.get("InstanceType") for v in _variants(live)}
        variants = _variants(endpoint)
        if not variants:
            raise CapacityError(f"endpoint {name} reports no variant")
        for variant in variants:
            count, instance_type = variant.get("CurrentInstanceCount"), types.get(variant["VariantName"])
            if count is None or instance_type is None:
                raise CapacityError(f"endpoint {name} does not report variant {variant['VariantName']}")
            found.append(config.priced("sagemaker", instance_type, count))
    return found


def _variants(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*described.get("ProductionVariants", ()), *described.get("ShadowProductionVariants", ())]


def read_azure(config: Config, bearer: str) -> list[Capacity]:
    """Live instances that Resource Manager reports at each ``url``."""
    found = []
    for item in config.azure:
        answer = azure_api.call(item["url"], bearer)
        count, size = _at(answer, item["field"]), _at(answer, item["size"])
        if not isinstance(count, int):
            raise CapacityError(f"{item['url']} does not report {'.'.join(item['field'])}")
        if not isinstance(size, str):
            raise CapacityError(f"{item['url']} does not report {'.'.join(item['size'])}")
        found.append(config.priced("azure_ml", size, count))
    return found


def _at(value: Any, path: Iterable[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def live_private(config: Config, now: datetime) -> tuple[dict[str, Any], dict[str, Exception]]:
    """``{gpus, usd_per_hour}`` of the private site, and what went wrong. GPUs count while a model server on them is up,
    as the cluster's own gateway says. Machines of one's own cost the same whether they work or not; ``elastic`` ones
    cost what is up, and at least what the pool starts with."""
    owned = config.private
    usd_per_hour = owned["gpus"] * owned["usd_per_gpu_hour"]
    configured = {"gpus": owned["gpus"], "usd_per_hour": usd_per_hour}
    if not owned.get("gpus_per_server"):
        return configured, {}
    servers = _recent(SERVERS, {"Gateway": config.gateway}, now, FRESH, "Maximum")
    if not servers:
        return configured, {"private": CapacityError("the private cluster has not said how many servers it has")}
    live = round(servers[0]) * owned["gpus_per_server"]
    if owned.get("elastic"):
        return {"gpus": live, "usd_per_hour": max(live, owned["gpus"]) * owned["usd_per_gpu_hour"]}, {}
    return {"gpus": min(owned["gpus"], live), "usd_per_hour": usd_per_hour}, {}


def tokens_of(config: Config, private: Mapping[str, Any], now: datetime) -> list[Value]:
    """$/1 M tokens of the private site, whose vLLM servers count them; nothing where no token was counted."""
    counted = _recent(TOKENS, {"Gateway": config.gateway}, now, FRESH, "Average") if config.gateway else []
    per_hour = sum(counted) / len(counted) * 60 if counted else 0.0
    if per_hour <= 0:
        return []
    return [Value(PER_TOKENS, private["usd_per_hour"] / per_hour * 1e6, {"Site": "private"})]


def publish(cloudwatch: Any, stack: str, values: Iterable[Value]) -> None:
    """Put them with the dimension ``Stack`` and their own."""
    data = []
    for one in values:
        dimensions = [{"Name": name, "Value": value} for name, value in {"Stack": stack, **one.dimensions}.items()]
        data.append({"MetricName": one.metric, "Value": one.value, "Unit": "None", "Dimensions": dimensions})
    cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data)
