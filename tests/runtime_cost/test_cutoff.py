"""The cut-off: stages, hysteresis, and what it does to the endpoints."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spillway.runtime import azure_api
from spillway.runtime.cutoff import Config, State, decide, hold_at_minimum, hold_azure_at_minimum, read_alarms

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TARGET = {
    "endpoint": "e",
    "variant": "primary",
    "resource_id": "endpoint/e/variant/primary",
    "minimum": 1,
    "class": "P1",
}
CONFIG = Config("/s/spill-cutoff", ("high",), ("calm",), ("P2", "P1"), 300, 900, True, (TARGET,))
OVER = {"high": "ALARM", "calm": "ALARM"}
BETWEEN = {"high": "OK", "calm": "ALARM"}
CALM = {"high": "OK", "calm": "OK"}
BLIND = {"high": "INSUFFICIENT_DATA", "calm": "INSUFFICIENT_DATA"}


def since(seconds: float, *closed: str) -> State:
    return State(closed, True, "high", (NOW - timedelta(seconds=seconds)).isoformat())


@pytest.mark.parametrize(
    ("state", "alarms", "closed"),
    [
        (State(), OVER, ("P2",)),
        (since(60, "P2"), OVER, ("P2",)),
        (since(301, "P2"), OVER, ("P2", "P1")),
        (since(9999, "P2", "P1"), OVER, ("P2", "P1")),
        (since(9999, "P2", "P1"), BETWEEN, ("P2", "P1")),
        (since(899, "P2", "P1"), CALM, ("P2", "P1")),
        (since(901, "P2", "P1"), CALM, ("P2",)),
        (since(901, "P2"), CALM, ()),
        (since(9999, "P2"), BLIND, ("P2",)),
        (State(), BLIND, ()),
    ],
)
def test_one_stage_at_a_time_and_none_without_data(
    state: State, alarms: dict[str, str], closed: tuple[str, ...]
) -> None:
    assert decide(state, alarms, CONFIG, NOW).closed == closed


def test_a_change_says_why_and_since_when_and_survives_json() -> None:
    closed = decide(State(), OVER, CONFIG, NOW)
    assert (closed.reason, closed.since, closed.scale_to_minimum) == ("high", NOW.isoformat(), True)
    assert State.from_json(closed.to_json()) == closed
    assert State.from_json('{"closed": []}') == State()
    assert not decide(since(901, "P2"), CALM, CONFIG, NOW).scale_to_minimum


def test_missing_alarm_is_an_error_not_calm() -> None:
    class CloudWatch:
        def describe_alarms(self, **_: Any) -> dict[str, Any]:
            return {"MetricAlarms": [{"AlarmName": "high", "StateValue": "OK"}]}

    with pytest.raises(LookupError, match="calm"):
        read_alarms(CloudWatch(), ("high", "calm"))


class Autoscaling:
    def __init__(self, held: bool) -> None:
        self.held = held
        self.calls: list[dict[str, Any]] = []

    def describe_scalable_targets(self, **_: Any) -> dict[str, Any]:
        return {"ScalableTargets": [{"SuspendedState": {"DynamicScalingOutSuspended": self.held}}]}

    def register_scalable_target(self, **call: Any) -> None:
        self.calls.append(call)
        self.held = call["SuspendedState"]["DynamicScalingOutSuspended"]


class SageMaker:
    def __init__(self, desired: int, status: str = "InService") -> None:
        self.desired, self.status = desired, status

    def describe_endpoint(self, **_: Any) -> dict[str, Any]:
        variant = {"VariantName": "primary", "DesiredInstanceCount": self.desired}
        return {"EndpointStatus": self.status, "ProductionVariants": [variant]}

    def update_endpoint_weights_and_capacities(self, **call: Any) -> None:
        self.desired = call["DesiredWeightsAndCapacities"][0]["DesiredInstanceCount"]


def test_closed_endpoint_is_held_at_its_minimum_and_its_bounds_stay() -> None:
    autoscaling, sagemaker = Autoscaling(held=False), SageMaker(desired=4)
    hold_at_minimum(autoscaling, sagemaker, since(0, "P2", "P1"), CONFIG)
    assert sagemaker.desired == 1
    assert not {"MinCapacity", "MaxCapacity"} & autoscaling.calls[0].keys()
    hold_at_minimum(autoscaling, sagemaker, since(0, "P2", "P1"), CONFIG)
    assert len(autoscaling.calls) == 1, "nothing left to do"


def test_endpoint_that_is_being_updated_is_shrunk_later() -> None:
    autoscaling, sagemaker = Autoscaling(held=False), SageMaker(desired=4, status="Updating")
    hold_at_minimum(autoscaling, sagemaker, since(0, "P2", "P1"), CONFIG)
    assert sagemaker.desired == 4
    sagemaker.status = "InService"
    hold_at_minimum(autoscaling, sagemaker, since(0, "P2", "P1"), CONFIG)
    assert sagemaker.desired == 1


def test_open_class_keeps_growing_and_a_reopened_one_may_again() -> None:
    autoscaling, sagemaker = Autoscaling(held=False), SageMaker(desired=4)
    hold_at_minimum(autoscaling, sagemaker, since(0, "P2"), CONFIG)
    assert (autoscaling.calls, sagemaker.desired) == ([], 4)
    held = Autoscaling(held=True)
    hold_at_minimum(held, sagemaker, State(), CONFIG)
    assert held.held is False


class Azure:
    """A Resource Manager with one deployment and its autoscale setting."""

    def __init__(self, capacity: int) -> None:
        self.state: dict[str, dict[str, Any]] = {
            "deployment": {"sku": {"capacity": capacity}},
            "autoscale": {"properties": {"enabled": True, "profiles": [{"name": "gpu"}]}},
        }
        self.changes: list[str] = []

    def call(self, url: str, bearer: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if body is not None:
            self.changes.append(url)
            self.state[url] = body
        return self.state[url]


AZURE = {"deployment_url": "deployment", "autoscale_url": "autoscale", "minimum": 1, "class": "P1"}


def test_azure_is_held_at_its_minimum_and_may_grow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    azure = Azure(capacity=3)
    monkeypatch.setattr(azure_api, "call", azure.call)
    config = replace(CONFIG, azure=(AZURE,))
    hold_azure_at_minimum("token", since(0, "P2"), config)
    assert azure.changes == [], "P1 is still open"
    hold_azure_at_minimum("token", since(0, "P2", "P1"), config)
    assert azure.state["deployment"] == {"sku": {"capacity": 1}}
    assert azure.state["autoscale"] == {"properties": {"enabled": False, "profiles": [{"name": "gpu"}]}}
    hold_azure_at_minimum("token", since(0, "P2", "P1"), config)
    assert len(azure.changes) == 2, "nothing left to do"
    hold_azure_at_minimum("token", State(), config)
    assert azure.state["autoscale"]["properties"]["enabled"] is True
