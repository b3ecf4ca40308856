from __future__ import annotations

from typing import Any

import pytest

from policies.resources import Context
from spillway.contracts.resources import Resource
from tests.policies.support import Case, check_case, resource

ENDPOINT = resource("aws:sagemaker/endpoint:Endpoint", name="burst-endpoint", endpointConfigName="burst-config")
ONLINE = resource("azure-native:machinelearningservices:OnlineEndpoint", endpointName="online-endpoint")


def target(**props: Any) -> Resource:
    return resource("aws:appautoscaling/target:Target", resourceId="endpoint/burst-endpoint/variant/primary", **props)


def configuration(instance_type: str, region: str = "us-east-1", **variant: Any) -> Resource:
    variants = [{"instanceType": instance_type, "initialInstanceCount": 2, **variant}]
    return resource(
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration", in_region=region, productionVariants=variants
    )


def alarm(**props: Any) -> Resource:
    given = {"metricName": "BurstDollarsPerHour", "alarmActions": ["arn:topic"], **props}
    return resource("aws:cloudwatch/metricAlarm:MetricAlarm", **given)


def record(role: str) -> Resource:
    return resource("aws:route53/record:Record", failoverRoutingPolicies=[{"type": role}])


BUDGET = resource("aws:budgets/budget:Budget", notifications=[{"subscriberEmailAddresses": ["owner@example.com"]}])
SILENT = resource("aws:budgets/budget:Budget", notifications=[{"subscriberEmailAddresses": []}])
AZURE_BUDGET = resource("azure-native:consumption:Budget", notifications={"actual": {"contactEmails": ["a@b.example"]}})

CASES = {
    "burst-cost-alarm": Case([ENDPOINT, alarm()], [ENDPOINT, alarm(alarmActions=[])]),
    "burst-maximum": Case([ENDPOINT, target(maxCapacity=8)], [ENDPOINT, target(maxCapacity=64)]),
    "burst-budget": Case([ENDPOINT, ONLINE, BUDGET, AZURE_BUDGET], [ENDPOINT, ONLINE, BUDGET]),
    "burst-failover-record": Case([ENDPOINT, record("PRIMARY"), record("SECONDARY")], [ENDPOINT, record("PRIMARY")]),
    "budget-is-told": Case([BUDGET, AZURE_BUDGET], [SILENT]),
    "alarm-actions-on": Case([alarm()], [alarm(actionsEnabled=False)]),
    "stack-price": Case(
        [configuration("ml.g5.xlarge")], [configuration("ml.g5.xlarge")], {"max_usd_per_hour": 2.9},
        failing_context=Context(prices={"sagemaker/ml.g5.xlarge/us-east-1": 1.5}),
    ),
    "known-price": Case([configuration("ml.g5.xlarge")], [configuration("ml.p99.xlarge")]),
}  # fmt: skip


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


def test_a_burst_endpoint_without_a_scaling_target_has_no_maximum() -> None:
    check_case("burst-maximum", Case([], [ENDPOINT]))


def test_a_batch_cluster_is_bounded_too() -> None:
    def cluster(most: int) -> Resource:
        scale = {"maxNodeCount": most}
        kind = "azure-native:machinelearningservices:Compute"
        return resource(kind, properties={"properties": {"scaleSettings": scale}})

    check_case("burst-maximum", Case([cluster(4)], [cluster(40)]))


def test_the_peak_has_a_ceiling_of_its_own() -> None:
    used = resource(
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        in_region="us-east-1",
        name="burst-config",
        productionVariants=[{"instanceType": "ml.g5.xlarge", "initialInstanceCount": 1}],
    )
    bounds = {"max_usd_per_hour": 3, "max_usd_per_hour_at_peak": 6}
    good = [ENDPOINT, used, target(minCapacity=1, maxCapacity=4)]
    check_case("stack-price", Case(good, [ENDPOINT, used, target(minCapacity=1, maxCapacity=5)], bounds))
