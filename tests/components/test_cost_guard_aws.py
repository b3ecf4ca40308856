"""The cost guard's resources on AWS, and its settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from components.cost_guard.settings import CostSettings, instance_price
from spillway.contracts.classes import RequestClass
from spillway.contracts.prices import PriceError
from tests.support.recording import Recorded, context, of_type, record

ENDPOINT_ARN = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/burst"


def build(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    from components.cost_guard.aws import AwsCostGuard, AwsCostGuardArgs, PrivateCapacity, SageMakerCapacity

    values: dict[str, Any] = {
        "settings": CostSettings(**(settings or {})),
        "region": "eu-west-1",
        "account_id": "123456789012",
        "private": PrivateCapacity(gpus=8, usd_per_gpu_hour=0.5, gpus_per_server=1),
        "sagemaker": (
            SageMakerCapacity(
                endpoint_name="burst",
                endpoint_arn=ENDPOINT_ARN,
                resource_id="endpoint/burst/variant/primary",
                variant="primary",
                instance_type="ml.g5.xlarge",
                minimum=1,
                request_class=RequestClass.P1,
            ),
        ),
    }
    return record(lambda: AwsCostGuard(context(), AwsCostGuardArgs(**{**values, **changes})))


def by_name(resources: list[Recorded], type_: str) -> dict[str, dict[str, Any]]:
    return {r.inputs["name"].removeprefix("spillway-test-cost-"): r.inputs for r in of_type(resources, type_)}


def test_alarms_hold_the_thresholds() -> None:
    alarms = by_name(build({"max_burst_usd_per_hour": 10}), "aws:cloudwatch/metricAlarm:MetricAlarm")
    assert alarms["blended"]["threshold"] == 1.2
    assert alarms["blended"]["dimensions"] == {"Stack": "test", "Site": "blended"}
    assert alarms["burst-ceiling"]["threshold"] == 10
    assert alarms["burst-calm"]["threshold"] == 8
    assert alarms["forecast-ceiling"]["metricName"] == "ForecastMonthDollars"
    assert alarms["signal-missing"]["treatMissingData"] == "breaching"
    assert all(alarms[name]["treatMissingData"] == "missing" for name in ("burst-ceiling", "burst-calm"))
    assert (alarms["rise"]["metricName"], alarms["rise"]["threshold"]) == ("BurstDollarsPerHourRise", 10)
    assert (alarms["price-missing"]["metricName"], alarms["price-missing"]["threshold"]) == ("PricesMissing", 0)
    assert alarms["cutoff-dead-letters"]["dimensions"]["QueueName"] == "spillway-test-cost-cutoff-dead-letters"


def test_functions_run_each_minute_and_hold_only_their_modules() -> None:
    resources = build()
    functions = by_name(resources, "aws:lambda/function:Function")
    assert set(functions["signal"]["code"].assets) == {
        "spillway/__init__.py",
        "spillway/runtime/__init__.py",
        "spillway/runtime/cost_signal.py",
        "spillway/runtime/aws_api.py",
        "spillway/runtime/azure_api.py",
    }
    retries = of_type(resources, "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig")
    assert [r.inputs["maximumRetryAttempts"] for r in retries] == [1, 1]
    for function in functions.values():
        assert function["deadLetterConfig"]["targetArn"]
        assert function["kmsKeyArn"]
        assert function["reservedConcurrentExecutions"] == 1
    schedules = by_name(resources, "aws:scheduler/schedule:Schedule")
    assert {schedule["scheduleExpression"] for schedule in schedules.values()} == {"rate(1 minute)"}
    assert set(schedules) == {"signal", "cutoff"}
    for group in of_type(resources, "aws:cloudwatch/logGroup:LogGroup"):
        assert group.inputs["retentionInDays"] == 90
        assert group.inputs["kmsKeyId"]


def test_signal_knows_prices_and_cutoff_its_targets() -> None:
    functions = by_name(build({"prices": {"sagemaker/ml.g5.xlarge/eu-west-1": 1.1}}), "aws:lambda/function:Function")
    signal = json.loads(functions["signal"]["environment"]["variables"]["SPILLWAY_COST"])
    assert signal["sagemaker"] == ["burst"]
    assert signal["prices"]["ml.g5.xlarge"] == [1.1, 1]
    assert signal["prices"]["ml.g5.48xlarge"][1] == 8, "of types that somebody may put in their place, too"
    assert signal["private"] == {"gpus": 8, "usd_per_gpu_hour": 0.5, "gpus_per_server": 1, "elastic": False}
    # Lambda refuses more than 4 KB of environment.
    assert len(functions["signal"]["environment"]["variables"]["SPILLWAY_COST"]) < 4000
    cutoff = json.loads(functions["cutoff"]["environment"]["variables"]["SPILLWAY_CUTOFF"])
    assert cutoff["order"] == ["P2", "P1"]
    assert cutoff["ceilings"] == ["spillway-test-cost-burst-ceiling", "spillway-test-cost-forecast-ceiling"]
    assert cutoff["targets"][0]["class"] == "P1"


def test_rights_are_no_wider_than_needed() -> None:
    resources = build()
    for role in of_type(resources, "aws:iam/rolePolicy:RolePolicy"):
        for statement in json.loads(role.inputs["policy"])["Statement"]:
            assert "*" not in "".join(statement["Action"])
    (cutoff,) = [r for r in of_type(resources, "aws:iam/rolePolicy:RolePolicy") if r.name.endswith("cutoff-rights")]
    statements = {s["Sid"]: s for s in json.loads(cutoff.inputs["policy"])["Statement"]}
    assert statements["Shrink"]["Resource"][0] == ENDPOINT_ARN
    assert statements["Parameter"]["Resource"] != "*"


def test_parameter_starts_open_and_topic_is_encrypted() -> None:
    resources = build({"notify_emails": ["a@example.com"]})
    (parameter,) = of_type(resources, "aws:ssm/parameter:Parameter")
    assert parameter.inputs["name"] == "/spillway-test/spill-cutoff"
    (topic,) = of_type(resources, "aws:sns/topic:Topic")
    assert topic.inputs["kmsMasterKeyId"]
    subscriptions = {
        r.inputs["protocol"]: r.inputs for r in of_type(resources, "aws:sns/topicSubscription:TopicSubscription")
    }
    assert subscriptions["email"]["endpoint"] == "a@example.com"
    assert json.loads(subscriptions["lambda"]["filterPolicy"]) == {
        "AlarmName": ["spillway-test-cost-burst-ceiling", "spillway-test-cost-forecast-ceiling"]
    }


def test_budget_and_its_optional_action() -> None:
    resources = build({"budgets": {"aws_usd_per_month": 500, "stop_roles": ["deployer"]}})
    (budget,) = of_type(resources, "aws:budgets/budget:Budget")
    assert budget.inputs["limitAmount"] == "500"
    assert [n["threshold"] for n in budget.inputs["notifications"]] == [80, 100, 100]
    (action,) = of_type(resources, "aws:budgets/budgetAction:BudgetAction")
    assert action.inputs["definition"]["iamActionDefinition"]["roles"] == ["deployer"]
    assert not of_type(build(), "aws:budgets/budgetAction:BudgetAction")


def test_azure_is_counted_with_one_credential_and_lowered_with_another() -> None:
    from components.cost_guard.aws import AzureCapacity

    manager = "https://management.azure.com"
    azure = (
        AzureCapacity(
            url=f"{manager}/x",
            field=("sku", "capacity"),
            size=("properties", "instanceType"),
            vm_size="Standard_NC24ads_A100_v4",
            region="eastus",
            autoscale_url=f"{manager}/y",
            minimum=1,
        ),
    )
    with pytest.raises(ValueError, match="azure_secret_arn"):
        build(azure=azure)
    functions = by_name(build(azure=azure, azure_secret_arn="arn:secret"), "aws:lambda/function:Function")
    signal = json.loads(functions["signal"]["environment"]["variables"]["SPILLWAY_COST"])
    assert signal["prices"]["Standard_NC24ads_A100_v4"] == [3.673, 1]
    assert signal["azure_secret"] == "arn:secret"
    assert len(functions["signal"]["environment"]["variables"]["SPILLWAY_COST"]) < 4000
    assert "azure" not in json.loads(functions["cutoff"]["environment"]["variables"]["SPILLWAY_CUTOFF"])
    both = by_name(
        build(azure=azure, azure_secret_arn="arn:secret", azure_scaler_secret_arn="arn:scaler"),
        "aws:lambda/function:Function",
    )
    cutoff = json.loads(both["cutoff"]["environment"]["variables"]["SPILLWAY_CUTOFF"])
    assert cutoff["azure"] == [
        {"deployment_url": f"{manager}/x", "autoscale_url": f"{manager}/y", "minimum": 1, "class": "P1"}
    ]
    assert cutoff["azure_secret"] == "arn:scaler"


def test_own_price_of_an_unknown_type_needs_its_gpus() -> None:
    settings = CostSettings(prices={"sagemaker/ml.new.xlarge/eu-west-1": 2.0})
    with pytest.raises(PriceError, match=r"cost_guard\.gpus"):
        instance_price(settings, "sagemaker", "ml.new.xlarge", "eu-west-1")
    known = CostSettings(prices={"sagemaker/ml.new.xlarge/eu-west-1": 2.0}, gpus={"ml.new.xlarge": 4})
    assert instance_price(known, "sagemaker", "ml.new.xlarge", "eu-west-1") == (2.0, 4)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"cutoff": {"order": ["P0", "P1"]}}, "P0 may only be the last"),
        ({"cutoff": {"order": []}}, "at least one"),
        ({"notify_emails": ["nobody"]}, "not an e-mail address"),
        ({"prices": {"g5": 1}}, "cloud/instance type/region"),
        ({"prices": {"ec2/g5.xlarge/eu-west-1": 0}}, "above 0"),
        ({"budgets": {"alert_percents": []}}, "one or more"),
    ],
)
def test_settings_say_what_is_allowed(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CostSettings(**part)
