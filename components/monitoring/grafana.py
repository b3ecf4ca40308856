"""The Grafana dashboard of the private site, as Grafana's JSON model."""

from __future__ import annotations

import json
from typing import Any

from components.monitoring.queries import Queries
from components.monitoring.settings import MonitoringSettings
from spillway.contracts.answer_times import FIRST_TOKEN, TOKEN

WIDTH, HEIGHT = 12, 8
"""Of a panel, in Grafana's grid of 24 columns."""
_MODEL = "{{model}}"
"""Empty for vLLM, which serves one."""


def dashboard(stack: str, settings: MonitoringSettings, queries: Queries) -> str:
    """JSON text: the three symptoms with their thresholds (latency, queue, GPUs), the three causes (compute, network or
    storage, scheduling), requests and spill by site; of generated text tokens by class and KV, too."""
    site = "{{envoy_cluster_name}}"
    panels = [
        _panel("Latency P99", queries.latency_p99_s, "all clients", "s", settings.max_latency_p99_s),
        _panel("Waiting requests", queries.queue_depth, "waiting", "short", settings.max_queue_depth),
        _panel("GPU time used", queries.gpu_share, "mean", "percentunit", settings.max_gpu_utilisation),
        _panel("Compute: seconds of work for a request", queries.working_s, _MODEL, "s"),
        _panel("Network: P99 until a site takes a connection", queries.connect_p99_s, site, "s"),
        _panel("Storage: model servers that still load", queries.servers_loading, "pods", "short"),
        _panel("Scheduling: seconds in the servers' queues", queries.queued_s, _MODEL, "s"),
        _panel("Scheduling: model servers without a node", queries.servers_pending, "pods", "short"),
        _panel("Latency P99 by site", queries.latency_p99_by_site_s, site, "s", settings.max_latency_p99_s),
        _panel("Requests by site", queries.requests_by_site, site, "reqps"),
        _panel("Answers by code", queries.answers_by_code, "{{envoy_response_code_class}}xx", "reqps"),
        _panel(
            "Share answered by burst sites", queries.spill_share, "spilled", "percentunit", settings.max_spill_share
        ),
        _panel("Sites open", queries.sites_open, "{{site}} {{class}}", "bool_yes_no"),
    ]
    if queries.kind == "vllm":
        panels += [
            _panel("First token P95", queries.p95_by_class_s(FIRST_TOKEN), "{{class}}", "s"),
            _panel("Further tokens P95, each", queries.p95_by_class_s(TOKEN), "{{class}}", "s"),
            _panel("KV cache used", queries.kv_share, "mean", "percentunit"),
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
