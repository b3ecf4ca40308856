"""What Azure's services refuse beside what their models say, and changes that they accept first and make later."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from spillway.runtime.functions import azure_ml
from spillway.twin.azure.manager import ResourceManager
from spillway.twin.azure.refusals import ArmError
from spillway.twin.azure.sample import ACCOUNT, IN_GROUP
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.provider import StandInError
from tests.support.twin_server import Driver
from tests.twin.azure.samples import SAMPLES

ML = "machinelearningservices"
API = "2024-10-01"


@pytest.fixture(scope="module")
def driver(endpoint: str) -> Driver:
    """A group with what the samples name."""
    made = Driver(AzureStandIn(endpoint))
    for type_, inputs in SAMPLES.items():
        made.create(f"azure-native:{type_}", "thing", inputs)
    return made


def refused(driver: Driver, type_: str, **changes: Any) -> str:
    with pytest.raises(StandInError) as told:
        driver.create(f"azure-native:{type_}", "other", {**SAMPLES[type_], **changes})
    return str(told.value)


def deployment(workspace: Mapping[str, Any], driver: Driver, **properties: Any) -> str:
    """What is said to a deployment in a workspace of its own."""
    name = f"ws{abs(hash(json.dumps([workspace, properties], sort_keys=True))) % 10**8}"
    place = {"workspaceName": name}
    driver.create(f"azure-native:{ML}:Workspace", name, {**SAMPLES[f"{ML}:Workspace"], **place, **workspace})
    endpoint = {**SAMPLES[f"{ML}:OnlineEndpoint"], **place, "endpointName": f"e-{name}"}
    driver.create(f"azure-native:{ML}:OnlineEndpoint", name, endpoint)
    own = {**SAMPLES[f"{ML}:OnlineDeployment"]["properties"], **properties}
    return refused(driver, f"{ML}:OnlineDeployment", **place, endpointName=f"e-{name}", properties=own)


def test_a_network_that_is_only_declared_takes_no_deployment(driver: Driver) -> None:
    assert "WorkspaceManagedNetworkNotReady" in deployment({"provisionNetworkNow": False}, driver)


def test_the_flag_of_the_legacy_isolation_is_refused(driver: Driver) -> None:
    assert "no longer supported" in deployment({}, driver, egressPublicNetworkAccess="Disabled")


def test_a_deployment_keeps_its_size(driver: Driver) -> None:
    properties = {**SAMPLES[f"{ML}:OnlineDeployment"]["properties"], "instanceType": "Standard_NC8as_T4_v3"}
    assert "'instanceType' of a deployment cannot be changed" in refused(
        driver, f"{ML}:OnlineDeployment", properties=properties
    )


def test_a_resource_logs_only_what_its_type_has(driver: Driver) -> None:
    logs = [{"category": "StorageRead", "enabled": True}]
    vault = f"{ACCOUNT.partition('/providers/')[0]}/providers/Microsoft.KeyVault/vaults/spill-vault"
    said = refused(driver, "monitor:DiagnosticSetting", resourceUri=vault, name="wrong", logs=logs)
    assert "Category 'StorageRead' is not supported." in said
    here = {**SAMPLES["monitor:DiagnosticSetting"], "resourceUri": f"{ACCOUNT}/blobServices/default", "logs": logs}
    driver.create("azure-native:monitor:DiagnosticSetting", "right", here)


def test_batch_needs_code_for_what_is_not_mlflow(driver: Driver) -> None:
    workspace = "Microsoft.MachineLearningServices/workspaces/ml-ws"
    model = f"{ACCOUNT.partition('/providers/')[0]}/providers/{workspace}/models/minilm/versions/1"
    properties = {"model": {"referenceType": "Id", "assetId": model}}
    assert "CodeConfiguration and environment are required" in refused(
        driver, f"{ML}:BatchDeployment", deploymentName="uncoded", properties=properties
    )


def test_an_endpoints_name_is_of_the_whole_region(driver: Driver) -> None:
    driver.create(
        f"azure-native:{ML}:Workspace", "second", {**SAMPLES[f"{ML}:Workspace"], "workspaceName": "another-customer"}
    )
    assert "already exists in region westeurope" in refused(
        driver, f"{ML}:OnlineEndpoint", workspaceName="another-customer"
    )


def test_routing_of_ones_own_needs_a_route_table(driver: Driver) -> None:
    network = {**SAMPLES["containerservice:ManagedCluster"]["networkProfile"], "outboundType": "userDefinedRouting"}
    assert "ExistingRouteTableNotAssociatedWithSubnet" in refused(
        driver, "containerservice:ManagedCluster", resourceName="routed", networkProfile=network
    )


@pytest.mark.parametrize(
    ("type_", "named", "told"),
    [
        ("keyvault:Vault", {"vaultName": "spill-gone"}, "A vault with the same name already exists in deleted state"),
        (f"{ML}:Workspace", {"workspaceName": "ml-gone"}, "Soft-deleted workspace exists. Please purge or recover it"),
    ],
)
def test_a_deleted_ones_name_stays_taken(driver: Driver, type_: str, named: dict[str, str], told: str) -> None:
    state = driver.create(f"azure-native:{type_}", "gone", {**SAMPLES[type_], **named})
    driver.stand_in.delete("urn", f"azure-native:{type_}", state)
    assert told in refused(driver, type_, **named)


@pytest.mark.parametrize(
    ("closed", "code"),
    [
        ({"allowSharedKeyAccess": False}, "KeyBasedAuthenticationNotPermitted"),
        ({"publicNetworkAccess": "Disabled"}, "AuthorizationFailure"),
    ],
)
def test_the_providers_upload_is_refused_where_the_account_is_closed(
    driver: Driver, closed: dict[str, Any], code: str
) -> None:
    name = f"closed{len(code)}"
    account = {**SAMPLES["storage:StorageAccount"], "accountName": name, **closed}
    driver.create("azure-native:storage:StorageAccount", name, account)
    container = {**IN_GROUP, "accountName": name, "containerName": "packages"}
    driver.create("azure-native:storage:BlobContainer", name, container)
    with pytest.raises(StandInError, match=code):
        driver.create("azure-native:storage:Blob", "blob", {**container, "blobName": "b"})


def test_scaling_is_accepted_and_made_later(driver: Driver, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very calls of the cut-off: one PATCH, none while it is scaling, and a refusal of another is no failure."""
    place = {"endpointName": "spill", "deploymentName": "scaled"}
    inputs = {**SAMPLES[f"{ML}:OnlineDeployment"], **place, "sku": {"name": "Default", "capacity": 3}}
    made = driver.create(f"azure-native:{ML}:OnlineDeployment", "scaled", inputs)
    monkeypatch.setenv("SPILLWAY_AZURE_ENDPOINT_URL", endpoint)
    url = f"https://management.azure.com{made.id}?api-version={API}"
    azure_ml._lower(url, 1, "")
    request = urllib.request.Request(
        f"{endpoint}{made.id}?api-version={API}", data=b'{"sku": {"capacity": 2}}', method="PATCH"
    )
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=10)
    assert refusal.value.code == 409
    azure_ml._lower(url, 1, "")
    live = driver.stand_in.read(f"azure-native:{ML}:OnlineDeployment", made.id, made)
    assert live is not None
    assert (live.outputs["sku"]["capacity"], live.outputs["properties"]["provisioningState"]) == (1, "Succeeded")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert (answer.status, answer.read()) == (202, b"")
        operation = answer.headers["Azure-AsyncOperation"]
    with urllib.request.urlopen(f"{endpoint}{operation}", timeout=10) as answer:
        assert json.load(answer) == {"status": "InProgress"}
    with urllib.request.urlopen(f"{endpoint}{operation}", timeout=10) as answer:
        assert json.load(answer) == {"status": "Succeeded"}


def test_an_identity_made_again_is_another_principal() -> None:
    manager = ResourceManager()
    group = "/subscriptions/s/resourceGroups/g"
    manager.put(group, "2024-11-01", {"location": "westeurope"})
    path = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    versions = "2024-11-30"
    first, _ = manager.put(path, versions, {"location": "westeurope"})
    again, _ = manager.put(path, versions, {"location": "westeurope", "tags": {"a": "b"}})
    assert again["properties"]["principalId"] == first["properties"]["principalId"]
    manager.delete(path)
    anew, _ = manager.put(path, versions, {"location": "westeurope"})
    assert anew["properties"]["principalId"] != first["properties"]["principalId"]
    with pytest.raises(ArmError):
        manager.get(f"{path}-other")


def test_a_role_takes_effect_later() -> None:
    """https://learn.microsoft.com/azure/role-based-access-control/troubleshooting: up to ten minutes. Until then what
    acts with it is refused in the words of that page."""
    assert acting_at_once(rights_after_s=0) == ""
    said = acting_at_once(rights_after_s=60)
    assert said.startswith("403 AuthorizationFailed: The client")
    assert said.endswith("If access was recently granted, please refresh your credentials.")


@pytest.mark.parametrize(("rights_after_s", "refused"), [(0, False), (60, True)])
def test_a_role_of_ones_own_is_known_everywhere_later(rights_after_s: float, refused: bool) -> None:
    """https://github.com/hashicorp/terraform-provider-azurerm/issues/19916"""
    manager = ResourceManager(rights_after_s)
    group = "/subscriptions/s/resourceGroups/g"
    manager.put(group, "2024-11-01", {"location": "westeurope"})
    role = f"{group}/providers/Microsoft.Authorization/roleDefinitions/r"
    permissions = {"roleName": "own", "assignableScopes": [group], "permissions": [{"actions": ["*/read"]}]}
    manager.put(role, "2022-04-01", {"properties": permissions})
    assigned = {"principalId": "p", "roleDefinitionId": role}
    path = f"{group}/providers/Microsoft.Authorization/roleAssignments/a"
    with pytest.raises(ArmError, match="role definition with ID 'r' does not exist") if refused else nullcontext():
        manager.put(path, "2022-04-01", {"properties": assigned})


def acting_at_once(rights_after_s: float) -> str:
    """What is said to a workspace whose identity has just been given a role."""
    manager = ResourceManager(rights_after_s)
    group = "/subscriptions/s/resourceGroups/g"
    providers, place = f"{group}/providers", {"location": "westeurope"}
    manager.put(group, "2024-11-01", place)
    identity = f"{providers}/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    principal = manager.put(identity, "2024-11-30", place)[0]["properties"]["principalId"]
    assigned = {
        "principalId": principal,
        "roleDefinitionId": f"{providers}/Microsoft.Authorization/roleDefinitions/r",
    }
    manager.put(f"{providers}/Microsoft.Authorization/roleAssignments/a", "2022-04-01", {"properties": assigned})
    acts = {**place, "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}}
    try:
        manager.put(f"{providers}/Microsoft.MachineLearningServices/workspaces/ml-ws", API, acts)
    except ArmError as refusal:
        return f"{refusal.status} {refusal.code}: {refusal.message}"
    return ""


def test_an_endpoint_that_is_put_without_its_split_serves_nobody(driver: Driver) -> None:
    """The PUT replaces all of it: `traffic` is nullable and has no default in mfe.json, 2024-10-01."""
    kind = f"{ML}:OnlineEndpoint"

    def traffic() -> Any:
        endpoint = driver.stand_in.read(f"azure-native:{kind}", put.id, None)
        assert endpoint is not None
        return endpoint.outputs["properties"].get("traffic")

    put = driver.create(f"azure-native:{kind}", "thing", {**SAMPLES[kind], "tags": {"cost_centre": "42"}})
    assert not traffic()
    driver.create("azure-native:resources:Deployment", "thing", SAMPLES["resources:Deployment"])
    assert traffic() == {"blue": 100}
