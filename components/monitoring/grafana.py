"""The Grafana dashboard of the private site, as Grafana's JSON model."""

from __future__ import annotations

import json
from typing import Any, Literal

from components.monitoring import queries
from components.monitoring.settings import MonitoringSettings
from components.private_cluster.settings import Accelerator

WIDTH, HEIGHT = 12, 8
"""Of a panel, in Grafana's grid of 24 columns."""


def dashboard(
    stack: str, settings: MonitoringSettings, accelerator: Accelerator, kind: Literal["triton", "vllm"]
) -> str:
    """JSON text: latency, queue, GPUs, requests and spill by site."""
    site = "{{envoy_cluster_name}}"
    panels = [
        _panel("Latency P99", queries.LATENCY_P99_S, "all clients", "s", settings.max_latency_p99_s),
        _panel("Latency P99 by site", queries.LATENCY_P99_BY_SITE_S, site, "s", settings.max_latency_p99_s),
        _panel("Requests by site", queries.REQUESTS_BY_SITE, site, "reqps"),
        _panel("Answers by code", queries.ANSWERS_BY_CODE, "{{envoy_response_code_class}}xx", "reqps"),
        _panel("Waiting requests", queries.queue_depth(kind), "waiting", "short", settings.max_queue_depth),
        _panel("GPU time used", queries.gpu_share(accelerator), "mean", "percentunit", settings.max_gpu_utilisation),
        _panel(
            "Share answered by burst sites", queries.SPILL_SHARE, "spilled", "percentunit", settings.max_spill_share
        ),
        _panel("Sites open", "min by (site, class) (spillway_site_open)", "{{site}} {{class}}", "bool_yes_no"),
    ]
    for index, panel in enumerate(panels):
        panel["id"] = index + 1
        panel["gridPos"] = {"x": WIDTH * (index % 2), "y": HEIGHT * (index // 2), "w": WIDTH, "h": HEIGHT}
    return json.dumps(
        {
            "uid": f"spillway-{stack}"[:40],
            "title": f"Spillway {stack}",
            "tags": ["spillway"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "panels": panels,
        },
        sort_keys=True,
    )


def _panel(title: str, query: str, legend: str, unit: str, limit: float | None = None) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if limit is not None:
        steps.append({"color": "red", "value": limit})
    return {
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "targets": [{"refId": "A", "expr": query, "legendFormat": legend}],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "custom": {"thresholdsStyle": {"mode": "line" if limit is not None else "off"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
    }
