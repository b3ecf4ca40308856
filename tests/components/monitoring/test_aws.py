"""Alarms and dashboard on AWS."""

from __future__ import annotations

import json
from typing import Any

from components.monitoring.settings import MonitoringSettings
from tests.support.recording import Recorded, context, of_type, record

CONDITION = {"namespace": "AWS/SageMaker", "metric_name": "ApproximateBacklogSize", "statistic": "Maximum"}
CONDITION = {**CONDITION, "threshold": 9}


def build(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    from components.monitoring.aws import Alarm, AwsMonitoring, AwsMonitoringArgs, Graph

    values: dict[str, Any] = {
        "settings": MonitoringSettings(**(settings or {})),
        "region": "eu-west-1",
        "topic_arn": "arn:topic",
        "sites": ("sagemaker", "azure_ml"),
        "alarms": (Alarm("waiting", "Too many wait", {"EndpointName": "e"}, CONDITION),),
        "graphs": (Graph("Waiting", [["AWS/SageMaker", "ApproximateBacklogSize", "EndpointName", "e"]], "Maximum", 9),),
        "load_balancer": "app/standby/1",
    }
    return record(lambda: AwsMonitoring(context(), AwsMonitoringArgs(**{**values, **changes})))


def alarms(resources: list[Recorded]) -> dict[str, dict[str, Any]]:
    found = of_type(resources, "aws:cloudwatch/metricAlarm:MetricAlarm")
    return {r.inputs["name"].removeprefix("spillway-test-"): r.inputs for r in found}


def test_alarms_of_the_gateway_and_of_the_sites() -> None:
    found = alarms(build())
    assert found["gateway-latency-p99"]["threshold"] == 5
    assert found["waiting"]["threshold"] == 9
    assert found["waiting"]["dimensions"] == {"EndpointName": "e"}
    assert found["waiting"]["treatMissingData"] == "notBreaching"


def test_service_busy_is_any_of_them() -> None:
    (busy,) = of_type(build(), "aws:cloudwatch/compositeAlarm:CompositeAlarm")
    assert busy.inputs["alarmRule"].count("ALARM(") == 4
    assert ' OR ALARM("spillway-test-gateway-latency-p99")' in busy.inputs["alarmRule"]


def test_a_standby_that_is_dead_is_told_before_it_is_needed() -> None:
    alarms = {r.inputs["name"]: r.inputs for r in of_type(build(), "aws:cloudwatch/metricAlarm:MetricAlarm")}
    tasks = alarms["spillway-test-standby-tasks"]
    assert (tasks["metricName"], tasks["statistic"], tasks["threshold"]) == ("HealthyHostCount", "Minimum", 1)
    assert (tasks["comparisonOperator"], tasks["treatMissingData"]) == ("LessThanThreshold", "breaching")
    assert set(tasks["dimensions"]) == {"LoadBalancer", "TargetGroup"}
    assert alarms["spillway-test-gateway-latency-p99"]["treatMissingData"] == "notBreaching"


def test_a_certificate_that_nobody_renews_is_told_of_in_time() -> None:
    """ACM tells twice a day how many days are left, the gateway's agent each time that its heart beats."""
    found = alarms(build(certificate_arn="arn:certificate", gateway_certificate=True))
    acm, own = found["acm-certificate"], found["gateway-certificate"]
    assert (acm["metricName"], acm["period"], acm["evaluationPeriods"]) == ("DaysToExpiry", 86400, 1)
    assert (acm["namespace"], acm["dimensions"]) == ("AWS/CertificateManager", {"CertificateArn": "arn:certificate"})
    assert (own["namespace"], own["metricName"], own["period"]) == ("Spillway", "CertificateDaysLeft", 60)
    assert own["dimensions"] == {"Gateway": "spillway-test"}
    assert {(one["threshold"], one["comparisonOperator"]) for one in (acm, own)} == {(21, "LessThanThreshold")}
    assert not {"acm-certificate", "gateway-certificate"} & set(alarms(build()))


def test_dashboard_shows_gateway_sites_and_cost() -> None:
    (dashboard,) = of_type(build(), "aws:cloudwatch/dashboard:Dashboard")
    text = dashboard.inputs["dashboardBody"]
    widgets = json.loads(text)["widgets"]
    assert len({(widget["x"], widget["y"]) for widget in widgets}) == len(widgets), "widgets must not overlap"
    for metric in (
        "GatewayHeartbeat",
        "TargetResponseTime",
        "ApproximateBacklogSize",
        '"azure_ml"',
        "DollarsPerGpuHour",
    ):
        assert metric in text


def test_only_what_exists_is_watched() -> None:
    nothing = build(sites=(), alarms=(), graphs=(), load_balancer=None)
    assert not alarms(nothing)
    assert not of_type(nothing, "aws:cloudwatch/compositeAlarm:CompositeAlarm")
    assert not of_type(build({"dashboard": False}), "aws:cloudwatch/dashboard:Dashboard")
