"""Roles and networks as Azure Machine Learning documents them: how-to-managed-network and
how-to-identity-based-service-authentication, https://learn.microsoft.com/azure/machine-learning/"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spillway.conformance.flows.doors.azure_rights import ROLES
from spillway.conformance.flows.families.azure_ml import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, azure, world

IDENTITY = azure("managedidentity:UserAssignedIdentity", "ml", {"resourceName": "ml"}, principalId="principal")
STORE = azure("storage:StorageAccount", "store", {"accountName": "store"})
VAULT = azure("keyvault:Vault", "vault")
DATASTORE = azure("machinelearningservices:Datastore", "models", {"properties": {"accountName": "store"}})


def workspace(**props: Any) -> Resource:
    found = {"workspaceName": "ws", "primaryUserAssignedIdentity": IDENTITY.id, "keyVault": VAULT.id}
    return azure("machinelearningservices:Workspace", "ws", {**found, **props})


def deployment(*needs: Resource) -> Resource:
    identity = {"userAssignedIdentities": [IDENTITY.id]}
    made = azure("machinelearningservices:OnlineDeployment", "blue", {"workspaceName": "ws", "identity": identity})
    return replace(made, dependencies=frozenset(one.urn for one in needs))


def grant(role: str, on: Resource) -> Resource:
    props = {"principalId": "principal", "scope": on.id, "roleDefinitionId": f"/roleDefinitions/{ROLES[role]}"}
    return azure("authorization:RoleAssignment", f"{role}-{on.name}", props)


def closed(*resources: Resource) -> set[tuple[str, str]]:
    plan = world(IDENTITY, STORE, VAULT, *resources)
    found = [one for flow in FAMILY.flows(plan) for one in asked(flow.doors)]
    return {(one.resource.name if one.resource else "", one.path) for one in found}


def test_a_workspace_whose_identity_has_every_role() -> None:
    ws = workspace()
    grants = [grant("Contributor", ws), grant("Contributor", VAULT), grant("Key Vault Administrator", VAULT)]
    assert closed(ws, *grants) == set()
    assert closed(ws, *grants[:2]) == {("vault", "")}
    assert closed(ws) == {("ws", ""), ("vault", "")}


LOCKED = {"managedNetwork": {"isolationMode": "AllowOnlyApprovedOutbound"}, "keyVault": None}


def test_a_deployment_behind_a_managed_network() -> None:
    ws = workspace(**LOCKED)
    rights = [grant("Contributor", ws), grant("Storage Blob Data Reader", STORE), grant("Contributor", STORE)]
    assert closed(ws, deployment(), DATASTORE, *rights) == {("ws", "provisionNetworkNow"), ("ws", "managedNetwork")}
    to = {"type": "PrivateEndpoint", "destination": {"serviceResourceId": STORE.id, "subresourceTarget": "blob"}}
    rule = azure("machinelearningservices:ManagedNetworkSettingsRule", "to-store", {"properties": to})
    ready = workspace(**LOCKED, provisionNetworkNow=True)
    assert closed(ready, deployment(), DATASTORE, rule, *rights) == set()
    instance, cluster = (
        azure("machinelearningservices:Compute", kind, {"properties": {"computeType": kind}})
        for kind in ("ComputeInstance", "AmlCompute")
    )
    assert closed(ws, instance, deployment(instance), DATASTORE, rule, *rights) == set()
    assert closed(ws, cluster, deployment(cluster), DATASTORE, rule, *rights) == {("ws", "provisionNetworkNow")}
