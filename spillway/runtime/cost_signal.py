"""The live cost signal: list price times live capacity, published each minute.

A Lambda function. Its configuration is the JSON in the environment variable ``SPILLWAY_COST`` (see :class:`Config`);
prices are part of it, so that nothing is looked up at run time but the live capacity. A capacity that cannot be read is
never taken for zero: ``CostSignalErrors`` is published and the invocation fails.
"""

from __future__ import annotations

import calendar
import json
import logging
import os
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NAMESPACE = "Spillway"
BURST = "BurstDollarsPerHour"
FORECAST = "ForecastMonthDollars"
PER_GPU = "DollarsPerGpuHour"
ERRORS = "CostSignalErrors"

AZURE_SCOPE = "https://management.azure.com/.default"
TIMEOUT_S = 10

log = logging.getLogger(__name__)


class CapacityError(RuntimeError):
    """Live capacity could not be read."""


@dataclass(frozen=True)
class Capacity:
    """Live instances of one kind: ``usd_per_hour`` and ``gpus`` are of one instance."""

    site: str
    instances: int
    usd_per_hour: float
    gpus: int


@dataclass(frozen=True)
class Config:
    """``sagemaker``: ``{endpoint, variant, usd_per_hour, gpus}`` each; ``azure``: ``{url, field, usd_per_hour, gpus}``
    each, ``field`` being the path of the instance count in the answer; ``azure_secret``: Secrets Manager ARN of
    ``{tenant_id, client_id, client_secret}``; ``private``: ``{gpus, usd_per_gpu_hour}``."""

    stack: str
    private: Mapping[str, Any]
    sagemaker: tuple[Mapping[str, Any], ...] = ()
    azure: tuple[Mapping[str, Any], ...] = ()
    azure_secret: str | None = None
    azure_login_url: str = "https://login.microsoftonline.com"

    @classmethod
    def from_environment(cls) -> Config:
        values = json.loads(os.environ["SPILLWAY_COST"])
        return cls(
            stack=values["stack"],
            private=values["private"],
            sagemaker=tuple(values.get("sagemaker", ())),
            azure=tuple(values.get("azure", ())),
            azure_secret=values.get("azure_secret"),
            azure_login_url=values.get("azure_login_url", cls.azure_login_url),
        )


@dataclass(frozen=True)
class Signal:
    """What is published: US dollars."""

    burst_per_hour: float
    forecast_month: float
    per_gpu_hour: Mapping[str, float]


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Read, compute, publish. Raises when anything could not be read."""
    import boto3

    config = Config.from_environment()
    cloudwatch = boto3.client("cloudwatch")
    try:
        live = read_sagemaker(boto3.client("sagemaker"), config.sagemaker)
        if config.azure:
            live += read_azure(config, azure_token(config, boto3.client("secretsmanager")))
        now = datetime.now(UTC)
        spent = spent_this_month(cloudwatch, config.stack, now)
        signal = compute(config.private, live, spent, now)
    except Exception:
        publish(cloudwatch, config.stack, [(ERRORS, 1.0, None)])
        log.exception("the cost signal could not be computed")
        raise
    values = [(BURST, signal.burst_per_hour, None), (FORECAST, signal.forecast_month, None), (ERRORS, 0.0, None)]
    values += [(PER_GPU, value, site) for site, value in signal.per_gpu_hour.items()]
    publish(cloudwatch, config.stack, values)
    return {"burst": signal.burst_per_hour, "forecast": signal.forecast_month, "per_gpu": dict(signal.per_gpu_hour)}


def compute(private: Mapping[str, Any], live: Iterable[Capacity], spent: float, now: datetime) -> Signal:
    """Burst: ``Σ(price × instances)``. The month: what was spent, and the rest of it at the live rate. $/GPU-hour:
    ``Σ(price × instances) ÷ Σ(GPUs)`` per site with GPUs, and over all of them."""
    owned = Capacity("private", 1, private["gpus"] * private["usd_per_gpu_hour"], private["gpus"])
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
    start = month_start(now)
    metric = {
        "Namespace": NAMESPACE,
        "MetricName": BURST,
        "Dimensions": [{"Name": "Stack", "Value": stack}],
    }
    query = {"Id": "burst", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Average"}}
    total, token = 0.0, None
    while True:
        page = {"NextToken": token} if token else {}
        answer = cloudwatch.get_metric_data(MetricDataQueries=[query], StartTime=start, EndTime=now, **page)
        for result in answer["MetricDataResults"]:
            total += sum(
                value * min(1.0, (now - hour).total_seconds() / 3600)
                for hour, value in zip(result["Timestamps"], result["Values"], strict=True)
            )
        token = answer.get("NextToken")
        if not token:
            return total


def read_sagemaker(client: Any, endpoints: Iterable[Mapping[str, Any]]) -> list[Capacity]:
    """Live instances of each endpoint's variant."""
    found = []
    for endpoint in endpoints:
        answer = client.describe_endpoint(EndpointName=endpoint["endpoint"])
        counts = {v["VariantName"]: v.get("CurrentInstanceCount") for v in answer.get("ProductionVariants", ())}
        count = counts.get(endpoint["variant"])
        if count is None:
            raise CapacityError(f"endpoint {endpoint['endpoint']} does not report variant {endpoint['variant']}")
        found.append(Capacity("sagemaker", count, endpoint["usd_per_hour"], endpoint["gpus"]))
    return found


def azure_token(config: Config, secrets: Any) -> str:
    """A Resource Manager token by client credentials."""
    if not config.azure_secret:
        raise CapacityError("Azure capacity is to be read and no credential is configured (azure_secret)")
    credential = json.loads(secrets.get_secret_value(SecretId=config.azure_secret)["SecretString"])
    form = urllib.parse.urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": credential["client_id"],
            "client_secret": credential["client_secret"],
            "scope": AZURE_SCOPE,
        }
    )
    url = f"{config.azure_login_url}/{credential['tenant_id']}/oauth2/v2.0/token"
    return _json(urllib.request.Request(url, data=form.encode()))["access_token"]


def read_azure(
    config: Config, token: str, fetch: Callable[[urllib.request.Request], Any] | None = None
) -> list[Capacity]:
    """Live instances that Resource Manager reports at each ``url``."""
    found = []
    for item in config.azure:
        request = urllib.request.Request(item["url"], headers={"Authorization": f"Bearer {token}"})
        value = (fetch or _json)(request)
        for key in item["field"]:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, int):
            raise CapacityError(f"{item['url']} does not report {'.'.join(item['field'])}")
        found.append(Capacity("azure_ml", value, item["usd_per_hour"], item["gpus"]))
    return found


def _json(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def publish(cloudwatch: Any, stack: str, values: Iterable[tuple[str, float, str | None]]) -> None:
    """Put ``(metric, value, site)`` with the dimensions ``Stack`` and, where there is one, ``Site``."""
    data = []
    for metric, value, site in values:
        dimensions = [{"Name": "Stack", "Value": stack}]
        if site:
            dimensions.append({"Name": "Site", "Value": site})
        data.append({"MetricName": metric, "Value": value, "Unit": "None", "Dimensions": dimensions})
    cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data)
