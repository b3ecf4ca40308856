"""The cost guard's resources on AWS, and its settings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from components.aws_documents import allow
from components.cost_guard.capacity import HeldCapacity, SiteCapacity
from components.cost_guard.settings import CostSettings, instance_price
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import RequestClass
from spillway.contracts.function_config import CostConfig, CutoffConfig, PrivateMachines
from spillway.contracts.prices import PriceError
from tests.support.recording import Recorded, context, of_type, record

ENDPOINT_ARN = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/burst"
TARGET = {"endpoint": "burst", "variant": "primary", "resource_id": "endpoint/burst/variant/primary"}
SAGEMAKER = SiteCapacity(
    site="sagemaker",
    module="spillway.runtime.functions.sagemaker",
    machines=(Machines("burst.sagemaker.instance_type", "sagemaker", "ml.g5.xlarge", "eu-west-1", 1, 4),),
    asked={"endpoints": ["burst"]},
    may_read=[allow("ReadCapacity", ["sagemaker:DescribeEndpoint"], ENDPOINT_ARN)],
    held=(HeldCapacity(1, RequestClass.P1, TARGET),),
    may_hold=[allow("Shrink", ["sagemaker:UpdateEndpointWeightsAndCapacities"], [ENDPOINT_ARN])],
)
AZURE_ML = SiteCapacity(
    site="azure_ml",
    module="spillway.runtime.functions.azure_ml",
    machines=(Machines("burst.azure_ml.vm_size", "azure", "Standard_NC24ads_A100_v4", "eastus", 1, 3),),
    asked={"identity": {"tenant_id": "t", "client_id": "c"}, "machines": []},
    may_read=[],
)


def signal_of(resources: list[Recorded]) -> CostConfig:
    variables = by_name(resources, "aws:lambda/function:Function")["signal"]["environment"]["variables"]
    # Lambda refuses more than 4 KB of environment.
    assert len(variables[CostConfig.VARIABLE]) < 4000
    return CostConfig.from_environment(variables)


def cutoff_of(resources: list[Recorded]) -> CutoffConfig:
    variables = by_name(resources, "aws:lambda/function:Function")["cutoff"]["environment"]["variables"]
    return CutoffConfig.from_environment(variables)


def build(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    from components.cost_guard.aws import AwsCostGuard, AwsCostGuardArgs

    values: dict[str, Any] = {
        "settings": CostSettings(**(settings or {})),
        "region": "eu-west-1",
        "account_id": "123456789012",
        "private": PrivateMachines(gpus=8, usd_per_gpu_hour=0.5, gpus_per_server=1),
        "sites": (SAGEMAKER,),
    }
    return record(lambda: AwsCostGuard(context(), AwsCostGuardArgs(**{**values, **changes})))


def by_name(resources: list[Recorded], type_: str) -> dict[str, dict[str, Any]]:
    return {r.inputs["name"].removeprefix("spillway-test-cost-"): r.inputs for r in of_type(resources, type_)}


def test_alarms_hold_the_thresholds() -> None:
    alarms = by_name(build({"max_burst_usd_per_hour": 10}), "aws:cloudwatch/metricAlarm:MetricAlarm")
    assert alarms["blended"]["threshold"] == 1.2
    assert alarms["blended"]["dimensions"] == {"Stack": "spillway-test", "Site": "blended"}
    assert alarms["burst-ceiling"]["threshold"] == 10
    assert alarms["burst-calm"]["threshold"] == 8
    assert alarms["forecast-ceiling"]["metricName"] == "ForecastMonthDollars"
    assert alarms["signal-missing"]["treatMissingData"] == "breaching"
    assert all(alarms[name]["treatMissingData"] == "missing" for name in ("burst-ceiling", "burst-calm"))
    assert (alarms["rise"]["metricName"], alarms["rise"]["threshold"]) == ("BurstDollarsPerHourRise", 10)
    assert (alarms["price-missing"]["metricName"], alarms["price-missing"]["threshold"]) == ("PricesMissing", 0)
    assert alarms["cutoff-dead-letters"]["dimensions"]["QueueName"] == "spillway-test-cost-cutoff-dead-letters"


def test_the_alarm_of_the_mix_ends_however_dear_the_machines_are() -> None:
    """Eight GPUs of one's own at 1.75 $ and one at 1.408 in SageMaker cost 1.712 at rest; a stack's own word holds."""
    dear = PrivateMachines(gpus=8, usd_per_gpu_hour=1.75, gpus_per_server=1)
    own = {"prices": {"sagemaker/ml.g5.xlarge/eu-west-1": 1.408}}
    for settings, threshold in ((own, 1.88), ({**own, "max_usd_per_gpu_hour": 1.5}, 1.5)):
        alarms = by_name(build(settings, private=dear), "aws:cloudwatch/metricAlarm:MetricAlarm")
        assert alarms["blended"]["threshold"] == threshold


def test_functions_run_each_minute_and_hold_only_their_modules() -> None:
    resources = build()
    functions = by_name(resources, "aws:lambda/function:Function")
    contracts = ("__init__", "function_config", "metrics")
    common = {"spillway/__init__.py", "spillway/runtime/__init__.py", "spillway/runtime/functions/__init__.py"}
    common |= {f"spillway/contracts/{name}.py" for name in contracts}
    own = {"cost_signal", "cost_history", "gateway_capacity", "aws", "site", "sagemaker"}
    signal = common | {f"spillway/contracts/{name}.py" for name in ("live_instances", "months")}
    assert set(functions["signal"]["code"].assets) == signal | {f"spillway/runtime/functions/{n}.py" for n in own}
    retries = of_type(resources, "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig")
    assert [r.inputs["maximumRetryAttempts"] for r in retries] == [1, 1]
    for function in functions.values():
        assert function["deadLetterConfig"]["targetArn"]
        assert function["kmsKeyArn"]
        assert "reservedConcurrentExecutions" not in function, "new accounts have none to reserve"
    schedules = by_name(resources, "aws:scheduler/schedule:Schedule")
    assert {schedule["scheduleExpression"] for schedule in schedules.values()} == {"rate(1 minute)"}
    assert set(schedules) == {"signal", "cutoff"}
    for group in of_type(resources, "aws:cloudwatch/logGroup:LogGroup"):
        assert group.inputs["retentionInDays"] == 90
        assert group.inputs["kmsKeyId"]


def test_of_a_type_in_two_regions_the_dearer_price_counts() -> None:
    """What SageMaker says of an endpoint names no region: the bill may be too high, and never too low."""
    own = {"sagemaker/ml.g5.xlarge/eu-west-1": 1.7, "sagemaker/ml.g5.xlarge/us-east-1": 1.4}
    there = replace(SAGEMAKER, machines=(replace(SAGEMAKER.machines[0], region="us-east-1"),))
    for sites in ((SAGEMAKER, there), (there, SAGEMAKER)):
        assert signal_of(build({"prices": own}, sites=sites)).prices["ml.g5.xlarge"] == (1.7, 1)


def test_signal_knows_prices_and_cutoff_its_targets() -> None:
    resources = build({"prices": {"sagemaker/ml.g5.xlarge/eu-west-1": 1.1}})
    signal, cutoff = signal_of(resources), cutoff_of(resources)
    assert signal.sites["sagemaker"].asked == {"endpoints": ["burst"]}
    assert signal.prices["ml.g5.xlarge"] == (1.1, 1)
    assert signal.prices["ml.g5.48xlarge"][1] == 8, "of types that somebody may put in their place, too"
    assert signal.private == PrivateMachines(gpus=8, usd_per_gpu_hour=0.5, gpus_per_server=1, elastic=False)
    assert cutoff.order == ("P2", "P1")
    assert cutoff.ceilings == ("spillway-test-cost-burst-ceiling", "spillway-test-cost-forecast-ceiling")
    assert (cutoff.targets[0].request_class, cutoff.targets[0].asked) == ("P1", TARGET)


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
    parameters = {r.inputs["name"] for r in of_type(resources, "aws:ssm/parameter:Parameter")}
    assert parameters == {"/spillway-test/spill-cutoff", "/spillway-test/live-instances"}
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
    (stop,) = [one for one in of_type(resources, "aws:iam/policy:Policy") if one.name.endswith("-stop")]
    (denied,) = json.loads(stop.inputs["policy"])["Statement"]
    assert (denied["Effect"], denied["Resource"]) == ("Deny", "*")
    assert set(denied["Action"]) == {
        *(f"sagemaker:{call}" for call in ("CreateEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities")),
        *(
            f"application-autoscaling:{call}"
            for call in ("PutScalingPolicy", "PutScheduledAction", "RegisterScalableTarget")
        ),
    }, "every call by which an endpoint's instances become more"
    assert not of_type(build(), "aws:budgets/budgetAction:BudgetAction")


def test_a_site_is_counted_and_held_where_it_says_so() -> None:
    resources = build(sites=(AZURE_ML,))
    signal = signal_of(resources)
    assert signal.prices["Standard_NC24ads_A100_v4"] == (3.673, 1)
    assert signal.sites["azure_ml"].asked == AZURE_ML.asked
    assert cutoff_of(resources).targets == (), "nothing of it is to be held"
    asked = {"deployment_url": "x", "autoscale_url": "y"}
    both = build(sites=(SAGEMAKER, replace(AZURE_ML, held=(HeldCapacity(1, RequestClass.P1, asked),))))
    last = cutoff_of(both).targets[-1]
    assert (last.module, last.minimum, last.asked) == (AZURE_ML.module, 1, asked)


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


def test_the_anomaly_monitor_is_written_as_aws_answers_it() -> None:
    """The provider compares text and replaces a monitor that differs (terraform-provider-aws issue 39885)."""
    [monitor] = by_name(build(), "aws:costexplorer/anomalyMonitor:AnomalyMonitor").values()
    specification = json.loads(monitor["monitorSpecification"])
    assert set(specification) == {"And", "CostCategories", "Dimensions", "Not", "Or", "Tags"}
    assert specification["Tags"] == {"Key": "stack", "MatchOptions": None, "Values": ["spillway-test"]}


def test_costs_are_counted_by_the_tag_where_the_account_may_say_so() -> None:
    """Not by default: AWS refuses a key that it does not know yet, and accounts that somebody else pays for."""
    kind = "aws:costexplorer/costAllocationTag:CostAllocationTag"
    (tag,) = of_type(build({"budgets": {"activate_tag": True}}), kind)
    assert (tag.inputs["tagKey"], tag.inputs["status"]) == ("stack", "Active")
    assert not of_type(build(), kind)
