"""Faults put into the rehearsed `prod`: each is refused by the rule meant for it. Those that reviews found in it are in
``tests/conformance/findings``."""

from __future__ import annotations

import json

import pytest

from spillway.conformance.graph import Graph
from tests.conformance.support import found
from tests.policies.faults import Fault, changed, removed

pytestmark = pytest.mark.heavy

_ML = "azure-native:machinelearningservices"


FAULTS: dict[str, tuple[str, Fault]] = {
    "an update of four hours and more": (
        "sagemaker-update-time",
        changed(
            "aws:sagemaker/endpoint:Endpoint",
            "deploymentConfig.blueGreenUpdatePolicy.maximumExecutionTimeoutInSeconds",
            28800,
            "-burst-real-time",
        ),
    ),
    "a retention that CloudWatch has not": (
        "aws-cloudformation-schema",
        changed("aws:cloudwatch/logGroup:LogGroup", "retentionInDays", 31),
    ),
    "memory that Fargate has not": (
        "aws-property-combinations",
        changed("aws:ecs/taskDefinition:TaskDefinition", "memory", "9000"),
    ),
    "a gateway without its rights": (
        "flow-sagemaker",
        removed("aws:iam/rolePolicy:RolePolicy", "-private-gateway-policy"),
    ),
    "a function without its rights": (
        "runtime-calls-allowed",
        removed("aws:iam/rolePolicy:RolePolicy", "-cost-signal-rights"),
    ),
    "an action that IAM has not": (
        "iam-action-exists",
        changed(
            "aws:iam/rolePolicy:RolePolicy",
            "policy",
            json.dumps({"Statement": [{"Effect": "Allow", "Action": "s3:FetchObject", "Resource": "*"}]}),
            "-model-server-policy",
        ),
    ),
    "a storage rule for one address": (
        "azure-storage-ip-rules",
        changed(
            "azure-native:storage:StorageAccount",
            "networkRuleSet.ipRules",
            [{"iPAddressOrRange": "198.51.100.7/32"}],
            "-models",
        ),
    ),
    "a container's name with a dot": (
        "kubernetes-openapi",
        changed("kubernetes:apps/v1:Deployment", "spec.template.spec.containers.0.name", "envoy.proxy"),
    ),
    "a storage tier that Azure has not": (
        "azure-body-members",
        changed("azure-native:storage:StorageAccount", "minimumTlsVersion", "SSL3", "-models"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_prod_is_refused(prod: Graph, fault: str) -> None:
    rule, apply = FAULTS[fault]
    assert found(rule, *apply(list(prod.resources)))
