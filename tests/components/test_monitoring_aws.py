"""Alarms and dashboard on AWS."""

from __future__ import annotations

import json
from typing import Any

from components.monitoring.settings import MonitoringSettings
from tests.support.recording import Recorded, context, of_type, record


def build(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    from components.monitoring.aws import AwsMonitoring, AwsMonitoringArgs

    values: dict[str, Any] = {
        "settings": MonitoringSettings(**(settings or {})),
        "region": "eu-west-1",
        "topic_arn": "arn:topic",
        "endpoint_name": "burst",
        "async_endpoint_name": "burst-async",
        "gpus_per_instance": 4,
        "queue_name": "batch",
        "load_balancer": "app/standby/1",
    }
    return record(lambda: AwsMonitoring(context(), AwsMonitoringArgs(**{**values, **changes})))


def alarms(resources: list[Recorded]) -> dict[str, dict[str, Any]]:
    found = of_type(resources, "aws:cloudwatch/metricAlarm:MetricAlarm")
    return {r.inputs["name"].removeprefix("spillway-test-"): r.inputs for r in found}


def test_thresholds_in_the_units_of_each_metric() -> None:
    found = alarms(build())
    assert found["latency-p99"]["threshold"] == 5_000_000
    assert found["latency-p99"]["extendedStatistic"] == "p99"
    assert found["gateway-latency-p99"]["threshold"] == 5
    assert found["queue-depth"]["threshold"] == found["async-queue-depth"]["threshold"] == 1000
    assert found["gpu-saturation"]["threshold"] == 360
    assert found["gpu-saturation"]["namespace"] == "/aws/sagemaker/Endpoints"


def test_service_busy_is_any_of_them() -> None:
    (busy,) = of_type(build(), "aws:cloudwatch/compositeAlarm:CompositeAlarm")
    assert busy.inputs["alarmRule"].count("ALARM(") == 5
    assert ' OR ALARM("spillway-test-gpu-saturation")' in busy.inputs["alarmRule"]


def test_dashboard_shows_gateway_sagemaker_and_cost() -> None:
    (dashboard,) = of_type(build(), "aws:cloudwatch/dashboard:Dashboard")
    text = dashboard.inputs["dashboardBody"]
    widgets = json.loads(text)["widgets"]
    assert len({(widget["x"], widget["y"]) for widget in widgets}) == len(widgets), "widgets must not overlap"
    for metric in (
        "GatewayHeartbeat",
        "TargetResponseTime",
        "ModelLatency",
        "Invocation5XXErrors",
        "DollarsPerGpuHour",
    ):
        assert metric in text


def test_only_what_exists_is_watched() -> None:
    nothing = build(endpoint_name=None, async_endpoint_name=None, queue_name=None, load_balancer=None)
    assert not alarms(nothing)
    assert not of_type(nothing, "aws:cloudwatch/compositeAlarm:CompositeAlarm")
    assert not of_type(build({"dashboard": False}), "aws:cloudwatch/dashboard:Dashboard")
