from __future__ import annotations

import pytest

from spillway.contracts.resources import Resource
from tests.policies.support import Case, check_case, found, resource

ALARM = resource("aws:cloudwatch/metricAlarm:MetricAlarm", name="burst-5xx")


def endpoint(*alarms: str) -> Resource:
    named = [{"alarmName": alarm} for alarm in alarms]
    config = {"autoRollbackConfiguration": {"alarms": named}} if alarms else None
    return resource("aws:sagemaker/endpoint:Endpoint", endpointConfigName="config-a", deploymentConfig=config)


def model(**props: object) -> Resource:
    given = {"enableNetworkIsolation": True, "vpcConfig": {"subnets": ["subnet-1"]}, **props}
    return resource("aws:sagemaker/model:Model", **given)


CASES = {
    "sagemaker-rollback": Case([endpoint("burst-5xx"), ALARM], [endpoint(), ALARM]),
    "sagemaker-isolation": Case([model()], [model(enableNetworkIsolation=False)]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


def test_an_alarm_that_is_not_there_rolls_nothing_back() -> None:
    check_case("sagemaker-rollback", Case([], [endpoint("gone-alarm"), ALARM]))


def test_asynchronous_endpoints_are_left_out() -> None:
    kind = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
    configuration = resource(kind, name="config-a", asyncInferenceConfig={"outputConfig": {}})
    assert found("sagemaker-rollback", [endpoint(), configuration]).violations == ()


def test_a_model_stays_in_the_network() -> None:
    check_case("sagemaker-isolation", Case([], [model(vpcConfig=None)]))
