"""https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spillway.conformance.flows.families.api_server import FAMILY
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, made, world

ENDPOINT = "https://ABC.gr7.us-east-1.eks.amazonaws.com"
ADMIN = "arn:aws:iam::123456789012:role/admin"


def eks(public: bool, bootstrap: bool = True) -> Resource:
    props = {
        "vpcConfig": {"endpointPublicAccess": public, "endpointPrivateAccess": True},
        "accessConfig": {"bootstrapClusterCreatorAdminPermissions": bootstrap},
    }
    return made("aws:eks/cluster:Cluster", "eks", props, endpoint=ENDPOINT)


def provider(server: str) -> Resource:
    return made(
        "pulumi:providers:kubernetes", "provider", {"kubeconfig": f'{{"clusters": [{{"server": "{server}"}}]}}'}
    )


def closed(*resources: Resource) -> list[tuple[str, str]]:
    found = [one for flow in FAMILY.flows(world(*resources)) for one in asked(flow.doors)]
    return [(one.resource.name if one.resource else "", one.path) for one in found]


@pytest.mark.parametrize(
    ("public", "server", "expected"),
    [
        (True, ENDPOINT, []),
        (False, "https://localhost:8443", []),
        (False, ENDPOINT, [("provider", "kubeconfig")]),
    ],
)
def test_a_private_api_server_is_reached_by_a_tunnel(
    public: bool, server: str, expected: list[tuple[str, str]]
) -> None:
    assert closed(eks(public), provider(server)) == expected


def test_somebody_has_to_be_an_admin() -> None:
    entry = made("aws:eks/accessEntry:AccessEntry", "entry", {"clusterName": "eks", "principalArn": ADMIN})
    rights = {
        "clusterName": "eks",
        "principalArn": ADMIN,
        "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
    }
    association = made("aws:eks/accessPolicyAssociation:AccessPolicyAssociation", "rights", rights)
    assert closed(eks(True, bootstrap=False), entry, association) == []
    assert closed(eks(True, bootstrap=False), entry) == [("eks", "accessConfig"), ("entry", "")]
    assert closed(eks(True), entry) == [("entry", "")]
    grouped = replace(entry, props={**entry.props, "kubernetesGroups": ["platform"]})
    assert closed(eks(True), grouped) == []


@pytest.mark.parametrize(
    ("props", "paths"),
    [
        ({"apiServerAccessProfile": {"enablePrivateCluster": False}}, []),
        (
            {"apiServerAccessProfile": {"enablePrivateCluster": True, "disableRunCommand": True}},
            ["apiServerAccessProfile.enablePrivateCluster"],
        ),
        ({"disableLocalAccounts": True, "aadProfile": {"enableAzureRBAC": True}}, ["aadProfile"]),
        ({"disableLocalAccounts": True, "aadProfile": {"enableAzureRBAC": True, "adminGroupObjectIDs": ["g"]}}, []),
    ],
)
def test_the_api_server_of_aks(props: dict[str, Any], paths: list[str]) -> None:
    """https://learn.microsoft.com/azure/aks/private-clusters"""
    aks = made("azure-native:containerservice:ManagedCluster", "aks", props)
    assert [path for _, path in closed(aks)] == paths


@pytest.mark.parametrize(("scope", "paths"), [("aks", []), ("other", ["aadProfile"])])
def test_a_role_on_another_cluster_is_none(scope: str, paths: list[str]) -> None:
    """https://learn.microsoft.com/azure/aks/manage-azure-rbac"""
    aks = made(
        "azure-native:containerservice:ManagedCluster",
        "aks",
        {"disableLocalAccounts": True, "aadProfile": {"enableAzureRBAC": True}},
    )
    role = f"/roleDefinitions/{ROLES['Azure Kubernetes Service RBAC Cluster Admin']}"
    granted = made("azure-native:authorization:RoleAssignment", "admin", {"scope": scope, "roleDefinitionId": role})
    assert [path for _, path in closed(aks, granted)] == paths
