"""The cost signal: the sums, and no zero for what could not be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from spillway.runtime import cost_signal
from spillway.runtime.cost_signal import (
    Capacity,
    CapacityError,
    Config,
    compute,
    hours_left,
    read_azure,
    read_sagemaker,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRIVATE = {"gpus": 8, "usd_per_gpu_hour": 0.5}


class SageMaker:
    def __init__(self, variants: list[dict[str, Any]]) -> None:
        self.variants = variants

    def describe_endpoint(self, **_: Any) -> dict[str, Any]:
        return {"ProductionVariants": self.variants}


def test_signal_adds_price_times_live_instances() -> None:
    live = [Capacity("sagemaker", 3, 2.0, 1), Capacity("azure_ml", 1, 8.0, 2)]
    signal = compute(PRIVATE, live, spent=100.0, now=NOW)
    assert signal.burst_per_hour == 14.0
    assert signal.forecast_month == pytest.approx(100 + 14 * 6.5 * 24)
    assert signal.per_gpu_hour == pytest.approx(
        {"private": 0.5, "sagemaker": 2.0, "azure_ml": 4.0, "blended": (4 + 14) / 13}
    )


def test_site_at_zero_has_no_price_per_gpu() -> None:
    assert set(compute(PRIVATE, [Capacity("sagemaker", 0, 2.0, 1)], 0, NOW).per_gpu_hour) == {"private", "blended"}


def test_hours_left_ends_with_the_month() -> None:
    assert hours_left(datetime(2026, 11, 30, 23, tzinfo=UTC)) == 1
    assert hours_left(datetime(2028, 2, 1, tzinfo=UTC)) == 29 * 24


def test_sagemaker_capacity_is_the_current_count_or_an_error() -> None:
    wanted = [{"endpoint": "e", "variant": "primary", "usd_per_hour": 2.0, "gpus": 1}]
    live = read_sagemaker(SageMaker([{"VariantName": "primary", "CurrentInstanceCount": 0}]), wanted)
    assert live == [Capacity("sagemaker", 0, 2.0, 1)]
    with pytest.raises(CapacityError, match="does not report variant primary"):
        read_sagemaker(SageMaker([]), wanted)


def test_azure_capacity_is_the_named_field_or_an_error() -> None:
    config = Config(
        "s", PRIVATE, azure=({"url": "https://a/x", "field": ["sku", "capacity"], "usd_per_hour": 3, "gpus": 1},)
    )
    assert read_azure(config, "token", lambda _: {"sku": {"capacity": 2}}) == [Capacity("azure_ml", 2, 3, 1)]
    with pytest.raises(CapacityError, match=r"sku\.capacity"):
        read_azure(config, "token", lambda _: {"sku": None})


@mock_aws
def test_failed_read_publishes_an_error_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    config = {
        "stack": "prod",
        "private": PRIVATE,
        "sagemaker": [{"endpoint": "gone", "variant": "primary", "usd_per_hour": 2.0, "gpus": 1}],
    }
    monkeypatch.setenv("SPILLWAY_COST", json.dumps(config))
    with pytest.raises(Exception, match="gone"):
        cost_signal.handler({}, None)
    metrics = boto3.client("cloudwatch").list_metrics(Namespace="Spillway")["Metrics"]
    assert [metric["MetricName"] for metric in metrics] == ["CostSignalErrors"]


@mock_aws
def test_signal_is_published_per_stack_and_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("SPILLWAY_COST", json.dumps({"stack": "prod", "private": PRIVATE}))
    assert cost_signal.handler({}, None)["burst"] == 0
    metrics = boto3.client("cloudwatch").list_metrics(Namespace="Spillway")["Metrics"]
    found = {(m["MetricName"], frozenset((d["Name"], d["Value"]) for d in m["Dimensions"])) for m in metrics}
    assert ("BurstDollarsPerHour", frozenset({("Stack", "prod")})) in found
    assert ("DollarsPerGpuHour", frozenset({("Stack", "prod"), ("Site", "blended")})) in found
