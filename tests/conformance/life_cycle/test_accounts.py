"""What two stacks must not share."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from spillway.conformance.life_cycle.accounts import RULES
from spillway.contracts.resources import Resource
from tests.conformance.plan import accused as _accused
from tests.conformance.plan import made

accused = partial(_accused, RULES)
OTHERS = [made("aws:kms/key:Key", f"spillway-prod-{name}") for name in ("logs", "zone")]
"""From these names a rule takes what the stack calls itself."""


def _iam(name: str) -> Resource:
    return replace(made("aws:iam/role:Role", "burst-role", {"name": name}), region="us-east-1")


def test_names_of_iam_hold_the_region() -> None:
    assert accused("aws-name-of-one-account", _iam("spillway-prod-burst")) == ["burst-role"]
    assert accused("aws-name-of-one-account", _iam("spillway-prod-burst-us-east-1")) == []
    assert accused("aws-name-of-one-account", _iam("burst-role-2fe129c")) == []


@pytest.mark.parametrize(
    ("type_", "props", "fine"),
    [
        ("aws:s3/bucket:Bucket", {"bucket": "spillway-prod-models"}, False),
        ("aws:s3/bucket:Bucket", {"bucket": "spillway-prod-models-123456789012-us-east-1"}, True),
        ("azure-native:network:Profile", {"dnsConfig": {"relativeName": "spillway-prod"}}, False),
        ("azure-native:storage:StorageAccount", {"accountName": "spillwayprodml8d96679968"}, True),
        ("azure-native:machinelearningservices:OnlineEndpoint", {"endpointName": "spillway-prod-burst"}, False),
    ],
)
def test_names_of_all_customers_hold_a_number_or_a_hash(type_: str, props: dict[str, Any], fine: bool) -> None:
    assert accused("name-of-all-customers", made(type_, "thing", props)) == ([] if fine else ["thing"])


def test_names_begin_with_the_stacks_own() -> None:
    group = "aws:cloudwatch/logGroup:LogGroup"
    shared = made(group, "spillway-prod-group", {"name": "/spillway/standby"})
    own = made(group, "spillway-prod-group", {"name": "/spillway/spillway-prod/standby"})
    assert accused("name-of-one-stack", *OTHERS, shared) == ["spillway-prod-group"]
    assert accused("name-of-one-stack", *OTHERS, own) == []


def test_a_metric_is_one_stacks() -> None:
    def alarm(namespace: str, stack: str) -> Resource:
        props = {"namespace": namespace, "dimensions": {"Stack": stack}}
        return made("aws:cloudwatch/metricAlarm:MetricAlarm", "spillway-prod-alarm", props)

    rule = "cloudwatch-metric-of-one-stack"
    assert accused(rule, *OTHERS, alarm("Spillway", "prod")) == ["spillway-prod-alarm"]
    assert accused(rule, *OTHERS, alarm("Spillway", "spillway-prod")) == []
    assert accused(rule, *OTHERS, alarm("AWS/SageMaker", "prod")) == []


def test_a_budget_counts_one_stack() -> None:
    def budget(value: str) -> Resource:
        filters = [{"name": "TagKeyValue", "values": [value]}]
        return made("aws:budgets/budget:Budget", "spillway-prod-budget", {"costFilters": filters})

    specification = json.dumps({"Tags": {"Key": "stack", "Values": ["prod"]}})
    monitor = made(
        "aws:costexplorer/anomalyMonitor:AnomalyMonitor",
        "spillway-prod-monitor",
        {"monitorSpecification": specification},
    )
    rule = "cost-filter-of-one-stack"
    assert accused(rule, *OTHERS, budget("user:stack$prod"), monitor) == [
        "spillway-prod-budget",
        "spillway-prod-monitor",
    ]
    assert accused(rule, *OTHERS, budget("user:stack$spillway-prod")) == []


def test_an_existing_clusters_names_are_shared() -> None:
    provider = made("pulumi:providers:kubernetes", "spillway-prod-kubernetes", {"kubeconfig": "{}"})

    def namespace(name: str) -> Resource:
        props = {"metadata": {"name": name}}
        return made("kubernetes:core/v1:Namespace", f"spillway-prod-{name}", props, provider=provider)

    rule = "kubernetes-name-of-one-stack"
    assert accused(rule, *OTHERS, provider, namespace("serving")) == ["spillway-prod-kubernetes"]
    assert accused(rule, *OTHERS, provider, namespace("spillway-prod-serving")) == []
    own = made("aws:eks/cluster:Cluster", "spillway-prod-cluster", {"name": "spillway-prod"})
    assert accused(rule, *OTHERS, own, provider, namespace("serving")) == []
