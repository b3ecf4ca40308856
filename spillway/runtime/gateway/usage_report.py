"""Tells CloudWatch what clients used since the last time, for showback: Prometheus' counters die with the cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from spillway.contracts import metrics
from spillway.contracts.usage import UsageMetrics
from spillway.runtime.gateway.token_budgets import METRICS

Counts = Mapping[tuple[str, str, str, str, str], float]
_COUNTED: Final = ("prompt", "completion")
_AT_ONCE: Final = 500
"""Values of one call: PutMetricData takes 1000 and one MB
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html)."""
_TOTAL: Final = "total"


def tokens_of(counts: Counts, client: str) -> float:
    """Of prompts and answers, of all classes, sites and models."""
    return sum(count for (name, *_, kind), count in counts.items() if name == client and kind in _COUNTED)


class UsageReport:
    """``counts``: by client, class, site, model and kind; they only grow. ``with_quotas``: clients of whom the sum over
    the rest is told, too."""

    def __init__(self, where: UsageMetrics, counts: Counts, with_quotas: Collection[str] = ()) -> None:
        self._where, self._counts, self._with_quotas = where, counts, with_quotas
        self._told: dict[tuple[str, str, str, str, str], float] = {}

    def publish(self, put_metric_data: Callable[..., Any]) -> None:
        """Blocking. What could not be told is told the next time."""
        now = dict(self._counts)
        now |= {(client, "", "", "", _TOTAL): tokens_of(now, client) for client in self._with_quotas}
        grown = [key for key, count in now.items() if count > self._told.get(key, 0.0)]
        for begin in range(0, len(grown), _AT_ONCE):
            part = grown[begin : begin + _AT_ONCE]
            data = [self._datum(key, now[key] - self._told.get(key, 0.0)) for key in part]
            put_metric_data(Namespace=metrics.NAMESPACE, MetricData=data)
            self._told |= {key: now[key] for key in part}

    def _datum(self, key: tuple[str, str, str, str, str], value: float) -> dict[str, Any]:
        client, request_class, site, model, kind = key
        if kind == _TOTAL:
            named = [{"Name": metrics.STACK, "Value": self._where.stack}, {"Name": metrics.CLIENT, "Value": client}]
            return {"MetricName": metrics.CLIENT_TOKENS, "Value": value, "Unit": "None", "Dimensions": named}
        named = {
            metrics.STACK: self._where.stack,
            metrics.CLIENT: client,
            metrics.CLASS: request_class,
            metrics.MODEL: model,
            metrics.SITE: site,
        }
        dimensions = [{"Name": name, "Value": text or "none"} for name, text in named.items()]
        return {"MetricName": METRICS[kind], "Value": value, "Unit": "None", "Dimensions": dimensions}
