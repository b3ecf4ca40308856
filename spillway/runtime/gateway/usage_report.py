"""Tells CloudWatch what clients used since the last time, for showback: Prometheus' counters die with the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from spillway.contracts import metrics
from spillway.contracts.routing import UsageMetrics
from spillway.runtime.gateway.token_budgets import METRICS

Counts = Mapping[tuple[str, str, str, str, str], float]
_AT_ONCE: Final = 500
"""Values of one call: PutMetricData takes 1000 and one MB
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html)."""


class UsageReport:
    """``counts``: by client, class, site, model and kind; they only grow."""

    def __init__(self, where: UsageMetrics, counts: Counts) -> None:
        self._where, self._counts = where, counts
        self._told: dict[tuple[str, str, str, str, str], float] = {}

    def publish(self, put_metric_data: Callable[..., Any]) -> None:
        """Blocking. What could not be told is told the next time."""
        now = dict(self._counts)
        grown = [key for key, count in now.items() if count > self._told.get(key, 0.0)]
        for begin in range(0, len(grown), _AT_ONCE):
            part = grown[begin : begin + _AT_ONCE]
            data = [self._datum(key, now[key] - self._told.get(key, 0.0)) for key in part]
            put_metric_data(Namespace=metrics.NAMESPACE, MetricData=data)
            self._told |= {key: now[key] for key in part}

    def _datum(self, key: tuple[str, str, str, str, str], value: float) -> dict[str, Any]:
        client, request_class, site, model, kind = key
        named = {
            metrics.STACK: self._where.stack,
            metrics.CLIENT: client,
            metrics.CLASS: request_class,
            metrics.MODEL: model,
            metrics.SITE: site,
        }
        dimensions = [{"Name": name, "Value": text or "none"} for name, text in named.items()]
        return {"MetricName": METRICS[kind], "Value": value, "Unit": "None", "Dimensions": dimensions}
