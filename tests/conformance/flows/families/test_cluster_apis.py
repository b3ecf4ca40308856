"""Pod Identity: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html"""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.cluster_apis import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import allow, asked, inline, made, network, role, trusting, world

TRUST = {**trusting("pods.eks"), "Action": ["sts:AssumeRole", "sts:TagSession"]}
RIGHTS = (allow("autoscaling:*"), allow("ec2:*"), allow("eks:*"))


def cluster(*addons: str) -> list[Resource]:
    eks = made("aws:eks/cluster:Cluster", "eks", {"bootstrapSelfManagedAddons": False})
    nodes = made("aws:eks/nodeGroup:NodeGroup", "nodes", {"subnetIds": ["private"]})
    kind = "aws:eks/addon:Addon"
    return [*network(), eks, nodes, *(made(kind, one, {"addonName": one, "clusterName": "eks"}) for one in addons)]


def autoscaler(trust: dict[str, Any], **association: str) -> list[Resource]:
    owner = role("scaler", trust)
    props = {"namespace": "kube-system", "serviceAccount": "cluster-autoscaler", "roleArn": owner.outputs["arn"]}
    chart = {"chart": "cluster-autoscaler", "namespace": "kube-system", "values": {}}
    return [
        owner,
        inline(owner, *RIGHTS),
        made("kubernetes:helm.sh/v3:Release", "chart", chart),
        made("aws:eks/podIdentityAssociation:PodIdentityAssociation", "association", {**props, **association}),
    ]


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        ([*cluster("eks-pod-identity-agent"), *autoscaler(TRUST)], set[str]()),
        ([*cluster(), *autoscaler(TRUST)], {"eks"}),
        ([*cluster("eks-pod-identity-agent"), *autoscaler(trusting("pods.eks"))], {"scaler"}),
        ([*cluster("eks-pod-identity-agent"), *autoscaler(TRUST, serviceAccount="other")], {"association"}),
    ],
)
def test_the_autoscaler_becomes_its_role(resources: list[Resource], named: set[str]) -> None:
    found = [
        one
        for flow in FAMILY.flows(world(*resources))
        if flow.source == "cluster-autoscaler"
        for one in asked(flow.doors)
    ]
    assert {one.resource.name for one in found if one.resource} == named


SERVE = tuple(
    allow(f"{service}:{action}")
    for service, actions in {
        "ec2": ("Describe*", "CreateSecurityGroup", "CreateTags", "DeleteSecurityGroup"),
        "elasticloadbalancing": ("*",),
        "iam": ("CreateServiceLinkedRole",),
    }.items()
    for action in actions
)
FOREIGN_GROUPS = allow("ec2:AuthorizeSecurityGroupIngress")
OWN_GROUPS = {**FOREIGN_GROUPS, "Condition": {"Null": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "false"}}}


@pytest.mark.parametrize(
    ("statement", "account", "named"),
    [
        (FOREIGN_GROUPS, "aws-load-balancer-controller", set[str]()),
        (OWN_GROUPS, "aws-load-balancer-controller", {"balancers-policy"}),
        (FOREIGN_GROUPS, "other", {"association"}),
    ],
)
def test_the_controller_of_load_balancers_may_open_the_nodes_groups(
    statement: dict[str, Any], account: str, named: set[str]
) -> None:
    owner = role("balancers", TRUST)
    props = {"namespace": "kube-system", "serviceAccount": account, "roleArn": owner.outputs["arn"]}
    chart = {"chart": "aws-load-balancer-controller", "namespace": "kube-system", "values": {}}
    resources = [
        *cluster("eks-pod-identity-agent"),
        owner,
        inline(owner, *SERVE, statement),
        made("kubernetes:helm.sh/v3:Release", "chart", chart),
        made("aws:eks/podIdentityAssociation:PodIdentityAssociation", "association", props),
    ]
    found = [
        one
        for flow in FAMILY.flows(world(*resources))
        if flow.source == "aws-load-balancer-controller"
        for one in asked(flow.doors)
    ]
    assert {one.resource.name for one in found if one.resource} == named
