"""The cut-off: stages, hysteresis, and what it does to the endpoints."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import boto3
import pytest

from spillway.contracts.function_config import CutoffConfig, HeldTarget
from spillway.runtime.functions import azure as azure_api
from spillway.runtime.functions import azure_ml, sagemaker
from spillway.runtime.functions.cutoff import (
    BusyError,
    Parameter,
    State,
    decide,
    handler,
    hold_at_minimum,
    read_alarms,
    settle,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TARGET = {"endpoint": "e", "variant": "primary", "resource_id": "endpoint/e/variant/primary"}
CONFIG = CutoffConfig("/s/spill-cutoff", ("high",), ("calm",), ("P2", "P1"), 300, 900, True)
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


def test_each_turn_doubles_the_pause_until_a_quiet_day() -> None:
    """Demand for more than the ceiling: the bill after a cut is always calm, so it opens, and is too dear again."""
    config, state, now, closings = replace(CONFIG, order=("P2",)), State(), NOW, list[datetime]()
    for _ in range(24 * 60):
        now += timedelta(minutes=1)
        before = state
        state = decide(state, CALM if state.closed else OVER, config, now)
        if state.closed and not before.closed:
            closings.append(now)
    pauses = [(later - sooner).total_seconds() / 60 for sooner, later in pairwise(closings)]
    assert pauses == [16, 31, 61, 121, 241, 361, 361], (
        "a quarter of an hour, doubled up to six hours, and a minute open"
    )
    quiet = replace(state, closed=(), opened=True, since=now.isoformat())
    assert decide(quiet, OVER, config, now + timedelta(hours=23)).turns == state.turns + 1
    assert decide(quiet, OVER, config, now + timedelta(hours=25)).turns == 0


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
    autoscaling, endpoint = Autoscaling(held=False), SageMaker(desired=4)
    sagemaker.hold(TARGET, 1, True, autoscaling, endpoint)
    assert endpoint.desired == 1
    assert not {"MinCapacity", "MaxCapacity"} & autoscaling.calls[0].keys()
    sagemaker.hold(TARGET, 1, True, autoscaling, endpoint)
    assert len(autoscaling.calls) == 1, "nothing left to do"


def test_endpoint_that_is_being_updated_is_shrunk_later() -> None:
    autoscaling, endpoint = Autoscaling(held=False), SageMaker(desired=4, status="Updating")
    sagemaker.hold(TARGET, 1, True, autoscaling, endpoint)
    assert endpoint.desired == 4
    endpoint.status = "InService"
    sagemaker.hold(TARGET, 1, True, autoscaling, endpoint)
    assert endpoint.desired == 1


def test_open_endpoint_keeps_growing_and_a_reopened_one_may_again() -> None:
    autoscaling, endpoint = Autoscaling(held=False), SageMaker(desired=4)
    sagemaker.hold(TARGET, 1, False, autoscaling, endpoint)
    assert (autoscaling.calls, endpoint.desired) == ([], 4)
    held = Autoscaling(held=True)
    sagemaker.hold(TARGET, 1, False, held, endpoint)
    assert held.held is False


HELD: list[tuple[Any, int, bool]] = []
"""What the site below was told."""


def hold(asked: dict[str, Any], minimum: int, held: bool) -> None:
    """This module is a site's, too: what the cut-off does with one that it knows by name only."""
    if asked.get("refuses"):
        raise OSError("busy")
    HELD.append((asked["name"], minimum, held))
    if asked.get("closes") and not held:
        Parameter(boto3.client("ssm"), CONFIG.parameter).write(since(0, "P1"))


def targets(*asked: dict[str, Any]) -> CutoffConfig:
    return replace(CONFIG, targets=tuple(HeldTarget(__name__, "P1", 1, one) for one in asked))


def test_targets_of_a_closed_class_are_held_and_the_others_let_go() -> None:
    HELD.clear()
    config = targets({"name": "e"})
    hold_at_minimum(since(0, "P2"), config)
    hold_at_minimum(since(0, "P2", "P1"), config)
    hold_at_minimum(State(("P2", "P1"), False, "high", NOW.isoformat()), config)
    hold_at_minimum(State(), config)
    assert HELD == [("e", 1, False), ("e", 1, True), ("e", 1, False), ("e", 1, False)]


def test_a_site_that_refuses_keeps_no_other_at_its_size() -> None:
    HELD.clear()
    with pytest.raises(OSError, match="busy"):
        hold_at_minimum(since(0, "P2", "P1"), targets({"refuses": True}, {"name": "other"}))
    assert HELD == [("other", 1, True)]


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


AZURE = {"identity": {"tenant_id": "t", "client_id": "c"}, "deployment_url": "deployment", "autoscale_url": "autoscale"}


def test_azure_is_held_at_its_minimum_and_may_grow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    azure = Azure(capacity=3)
    monkeypatch.setattr(azure_api, "call", azure.call)
    azure_ml.hold(AZURE, 1, False, "token")
    assert azure.changes == [], "it may grow already"
    azure_ml.hold(AZURE, 1, True, "token")
    assert azure.state["deployment"] == {"sku": {"capacity": 1}}
    assert azure.state["autoscale"] == {"properties": {"enabled": False, "profiles": [{"name": "gpu"}]}}
    azure_ml.hold(AZURE, 1, True, "token")
    assert len(azure.changes) == 2, "nothing left to do"
    azure_ml.hold(AZURE, 1, False, "token")
    assert azure.state["autoscale"]["properties"]["enabled"] is True


class Alarms:
    """CloudWatch whose alarms say one thing after the other, the last one for ever."""

    def __init__(self, *said: dict[str, str]) -> None:
        self.said = list(said)

    def describe_alarms(self, **_: Any) -> dict[str, Any]:
        states = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        return {"MetricAlarms": [{"AlarmName": name, "StateValue": state} for name, state in states.items()]}


class Overtaken(Parameter):
    """Another call writes ``others`` one by one, each just before this one does."""

    others: list[State]

    def write(self, state: State) -> int:
        if self.others:
            Parameter(self.ssm, self.name).write(self.others.pop(0))
        return super().write(state)


def overtaken(before: State, *others: State) -> Overtaken:
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name=CONFIG.parameter, Value=before.to_json(), Type="String")
    made = Overtaken(ssm, CONFIG.parameter)
    object.__setattr__(made, "others", list(others))
    return made


@pytest.mark.usefixtures("aws")
def test_who_was_overtaken_decides_again_from_what_the_other_wrote() -> None:
    """It saw calm and would open P2; meanwhile a ceiling fired, and the other call has closed P1 as well."""
    other = State(("P2", "P1"), True, "high", datetime.now(UTC).isoformat())
    parameter = overtaken(since(99999, "P2"), other)
    decided, version = settle(parameter, CONFIG, Alarms(CALM, OVER))
    assert decided == other
    assert parameter.read() == (other, version)


@pytest.mark.usefixtures("aws")
def test_who_is_overtaken_each_time_leaves_it_to_the_next_minute() -> None:
    stamps = [State(("P2", "P1"), True, "high", (NOW + timedelta(seconds=n)).isoformat()) for n in range(9)]
    with pytest.raises(BusyError, match="written by others 5 times"):
        settle(overtaken(since(99999, "P2"), *stamps), CONFIG, Alarms(CALM))


@pytest.mark.usefixtures("aws")
def test_the_sites_are_held_by_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """While this call lets a site grow again, another one closes its class."""
    HELD.clear()
    config = targets({"name": "e", "closes": True})
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name=config.parameter, Value=State().to_json(), Type="String")
    for name in ("high", "calm"):
        alarm = {"Namespace": "s", "MetricName": "m", "Statistic": "Maximum", "Period": 60, "EvaluationPeriods": 1}
        boto3.client("cloudwatch").put_metric_alarm(
            AlarmName=name, Threshold=1, ComparisonOperator="GreaterThanThreshold", **alarm
        )
        boto3.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="OK", StateReason="test")
    for name, value in config.to_environment().items():
        monkeypatch.setenv(name, value)
    assert handler({}, None)["closed"] == ["P1"]
    assert HELD == [("e", 1, False), ("e", 1, True)]
