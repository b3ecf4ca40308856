"""The example stacks: no finding but the open ones, and what is taken out of their order is missed by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from policies.catalogue import ALL
from policies.judge import judge
from policies.resources import Context
from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle import RULES
from spillway.conformance.rule import Finding
from spillway.contracts.resources import Resource
from stacks.stack_file import read_settings
from tests.stacks.files import example, flat

pytestmark = pytest.mark.heavy
QUESTION = [policy for policy in ALL if policy.name == "changes-go-through"]


@pytest.mark.parametrize("stack", ["prod", "dev", "local"])
def test_only_open_findings(rehearsed: Callable[[str], Graph], stack: str) -> None:
    verdict = judge(rehearsed(stack).resources, read_settings(flat(example(stack))).policies, Context(), QUESTION)
    assert [(v.finding.rule, v.finding.resource, v.finding.message) for v in verdict.violations] == []
    assert all(exempted.reason.startswith("Open: ") for exempted in verdict.exempted)


@pytest.mark.parametrize(
    ("gone", "rule", "accused"),
    [
        ("node-AmazonEKSWorkerNodePolicy", "iam-rights-outlive-users", "gpu"),
        ("vpc-cni-AmazonEKS_CNI_Policy", "iam-rights-outlive-users", "vpc-cni"),
        ("standby-execution-policy", "iam-rights-outlive-users", "standby"),
        ("admin-platform-admin", "eks-access-outlives-objects", "admin-platform-admin"),
        ("autoscaler-policy", "eks-identity-before-pods", "cluster-autoscaler"),
        ("private-us-east-1b-default", "ec2-roads-outlive-callers", "system"),
        ("burst-sg-s3", "ec2-rules-outlive-callers", "burst-real-time"),
        ("azureml-registry-acr-pull", "azure-assignments-outlive-users", "azureml-workspace"),
        ("deployer", "eks-deployer-outlives-objects", "deployer"),
    ],
)
def test_what_nothing_waits_for_is_found(prod: Graph, gone: str, rule: str, accused: str) -> None:
    names = {
        finding.resource.name for finding in _said(_without(prod, f"spillway-test-{gone}"), rule) if finding.resource
    }
    assert f"spillway-test-{accused}" in names
    assert not _said(prod, rule)


def _without(graph: Graph, name: str) -> Graph:
    """The same resources, of which none waits for this one any more."""
    urns = {resource.urn for resource in graph.resources if resource.name == name}

    def free(resource: Resource) -> Resource:
        own = resource.dependencies or frozenset()
        return replace(resource, dependencies=own - urns, after=resource.after - urns)

    return Graph(free(resource) for resource in graph.resources)


def _said(graph: Graph, name: str) -> list[Finding]:
    return [finding for rule in RULES if rule.name == name for finding in rule.check(graph)]
