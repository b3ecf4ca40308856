from __future__ import annotations

import copy
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pulumi
import pytest

from spillway.twin.azure import wire
from spillway.twin.azure.row import Row
from spillway.twin.azure.sample import ACCOUNT, ENDPOINT, GROUP, IDENTITY, IN_GROUP, IN_WORKSPACE, PLACE, SUBNET, at
from spillway.twin.azure.services import ROWS
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.protocol_assets import FileAsset, StringAsset
from spillway.twin.provider import UNKNOWN, ResourceState, Secret, StandInError, UnknownTypeError
from tests.support.twin_server import Driver
from tests.twin.azure.samples import SAMPLES

BY_TYPE = {row.type: row for row in ROWS}
ONLINE = "azure-native:machinelearningservices:OnlineEndpoint"
BLOB = "azure-native:storage:Blob"


@pytest.fixture(scope="module")
def world(endpoint: str) -> tuple[Driver, dict[str, ResourceState]]:
    """One of everything."""
    driver = Driver(AzureStandIn(endpoint))
    states = {type_: driver.create(f"azure-native:{type_}", "thing", inputs) for type_, inputs in SAMPLES.items()}
    return driver, states


def test_no_type_has_two_rows() -> None:
    assert len(BY_TYPE) == len(ROWS) == len(SAMPLES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.type)
def test_rows_agree_with_the_sdk(row: Row) -> None:
    sdk = wire.resource(row)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d(-preview)?", sdk["apiVersion"])
    assert set(row.path_inputs) <= set(sdk["inputs"])
    assert {path.partition(".")[0] for path in row.create_only} <= set(sdk["inputs"])
    assert set(row.renames) <= set(sdk["inputs"])
    assert not row.identity or "identity" in sdk["inputs"]


@pytest.mark.parametrize("type_", list(SAMPLES))
def test_each_type_is_created_and_read_without_drift(
    world: tuple[Driver, dict[str, ResourceState]], type_: str
) -> None:
    driver, states = world
    token, state = f"azure-native:{type_}", states[type_]
    assert token in driver.stand_in.types()
    live = driver.stand_in.read(token, state.id, state)
    assert live is not None
    assert not driver.stand_in.diff(token, live, state.inputs, ("properties.traffic",))
    assert live.outputs["azureApiVersion"] == wire.resource(BY_TYPE[type_])["apiVersion"]
    assert live.outputs["name"]
    sdk = wire.resource(BY_TYPE[type_])
    shown = {key for key in state.inputs if key in sdk["outputs"]}
    missing = {key for key in shown if key not in live.outputs} - BY_TYPE[type_].write_only
    assert missing == set()
    imported = driver.stand_in.read(token, state.id, None)
    assert imported is not None
    assert {k: v for k, v in imported.inputs.items() if k in BY_TYPE[type_].path_inputs} == {
        k: v.strip("/") if k in ("scope", "resourceUri") else v
        for k, v in state.inputs.items()
        if k in BY_TYPE[type_].path_inputs
    }


@pytest.mark.parametrize("type_", [t for t, i in SAMPLES.items() if "tags" in wire.resource(BY_TYPE[t])["inputs"]])
def test_tags_are_updated_in_place(world: tuple[Driver, dict[str, ResourceState]], type_: str) -> None:
    driver, states = world
    token, state = f"azure-native:{type_}", states[type_]
    inputs = {**state.inputs, "tags": {"changed": "yes"}}
    if type_ == "resources:Deployment":
        inputs = copy.deepcopy(inputs)
    diff = driver.stand_in.diff(token, state, inputs, ())
    assert (diff.changed, diff.replaces) == (("tags",), ())
    updated = driver.update(token, "thing", state, inputs)
    assert updated.outputs["tags"] == {"changed": "yes"}
    assert updated.id == state.id


def test_everything_is_deleted_with_its_group(endpoint: str) -> None:
    driver = Driver(AzureStandIn(endpoint))
    group = driver.create(
        "azure-native:resources:ResourceGroup", "g", {"resourceGroupName": "doomed", "location": "westeurope"}
    )
    nsg = "azure-native:network:NetworkSecurityGroup"
    inside = driver.create(nsg, "n", {"resourceGroupName": "doomed", "location": "westeurope"})
    assert re.fullmatch(r"n[0-9a-f]{8}", inside.outputs["name"])
    driver.stand_in.delete("urn", "azure-native:resources:ResourceGroup", group)
    assert driver.stand_in.read(nsg, inside.id, inside) is None
    driver.stand_in.delete("urn", nsg, inside)
    with pytest.raises(StandInError, match=r"ResourceGroupNotFound: Resource group 'doomed' could not be found"):
        driver.create(nsg, "n", {"resourceGroupName": "doomed", "location": "westeurope"})


def test_the_containers_outlive_the_settings_of_their_service(endpoint: str) -> None:
    driver = Driver(AzureStandIn(endpoint))
    driver.stand_in.configure({"subscriptionId": "11111111-2222-3333-4444-666666666666"})
    group = driver.create("azure-native:resources:ResourceGroup", "kept", {**IN_GROUP, "location": "westeurope"})
    kinds = ("StorageAccount", "BlobServiceProperties", "BlobContainer")
    made = {
        kind: driver.create(
            f"azure-native:storage:{kind}", kind.lower(), {**SAMPLES[f"storage:{kind}"], "accountName": "keptstore"}
        )
        for kind in kinds
    }
    settings, container = (f"azure-native:storage:{kind}" for kind in kinds[1:])
    driver.stand_in.delete(driver.urn(settings, "settings"), settings, made[kinds[1]])
    assert driver.stand_in.read(settings, made[kinds[1]].id, made[kinds[1]]) is None
    assert driver.stand_in.read(container, made[kinds[2]].id, made[kinds[2]]) is not None
    driver.stand_in.delete(
        driver.urn("azure-native:resources:ResourceGroup", "kept"), "azure-native:resources:ResourceGroup", group
    )


def test_create_read_update_delete_of_each_leaf(endpoint: str, world: tuple[Driver, dict[str, ResourceState]]) -> None:
    """Deleted in the opposite order, each one is gone afterwards; then all of it is made again."""
    driver, states = world
    blue = states["machinelearningservices:OnlineDeployment"]
    with pytest.raises(StandInError, match=r"Can't delete deployment \[blue\] with non-zero traffic weight"):
        driver.stand_in.delete("urn", "azure-native:machinelearningservices:OnlineDeployment", blue)
    endpoint_state = states["machinelearningservices:OnlineEndpoint"]
    quiet = {**endpoint_state.inputs["properties"], "traffic": {}}
    driver.update(ONLINE, "thing", endpoint_state, {**endpoint_state.inputs, "properties": quiet})
    for type_ in reversed(SAMPLES):
        driver.stand_in.delete("urn", f"azure-native:{type_}", states[type_])
        assert driver.stand_in.read(f"azure-native:{type_}", states[type_].id, states[type_]) is None
    _purge(endpoint)
    for type_, inputs in SAMPLES.items():
        states[type_] = driver.create(f"azure-native:{type_}", "thing", inputs)


def _purge(endpoint: str) -> None:
    """The names of the vault and the workspace, which would stay taken."""
    workspace = at("Microsoft.MachineLearningServices/workspaces/ml-ws")
    vaults = f"{GROUP.partition('/resourceGroups')[0]}/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults"
    for method, path in (("DELETE", f"{workspace}?forceToPurge=true"), ("POST", f"{vaults}/spill-vault/purge")):
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}{path}", method=method), timeout=10).close()


def test_what_services_add(world: tuple[Driver, dict[str, ResourceState]]) -> None:
    _, states = world
    endpoint = states["machinelearningservices:OnlineEndpoint"].outputs["properties"]
    assert endpoint["scoringUri"] == "https://spill.westeurope.inference.ml.azure.com/score"
    assert endpoint["provisioningState"] == "Succeeded"
    identity = states["managedidentity:UserAssignedIdentity"].outputs
    cluster = states["containerservice:ManagedCluster"].outputs
    assert cluster["identity"]["userAssignedIdentities"][IDENTITY]["principalId"] == identity["principalId"]
    assert cluster["oidcIssuerProfile"]["issuerURL"].startswith("https://westeurope.oic")
    assert states["applicationinsights:Component"].outputs["connectionString"].startswith("InstrumentationKey=")
    assert (
        states["storage:StorageAccount"].outputs["primaryEndpoints"]["blob"]
        == "https://spillstore.blob.core.windows.net/"
    )
    assert states["machinelearningservices:Workspace"].outputs["identity"]["principalId"]
    assert states["dns:RecordSet"].outputs["cnameRecord"] == {"cname": "spill.trafficmanager.net"}
    assert states["network:VirtualNetwork"].outputs["subnets"][0]["addressPrefix"] == "10.1.255.0/27"


@pytest.mark.parametrize(
    ("type_", "edit", "told"),
    [
        ("storage:StorageAccount", {"kind": "Storage9"}, "kind: 'Storage9' must be one of Storage, StorageV2"),
        ("storage:StorageAccount", {"sku": None}, "sku: required"),
        (
            "storage:StorageAccount",
            {"accountName": "Spill-Store"},
            "accountName: 'Spill-Store' must be 3 to 24 lower-case",
        ),
        ("storage:StorageAccount", {"colour": "red"}, "colour: is no argument"),
        ("network:Subnet", {"addressPrefixes": "10.0.0.0/8"}, "properties.addressPrefixes: must be an array"),
        (
            "network:Subnet",
            {"delegations": [{"name": "x", "service": "a"}]},
            "properties.delegations[0].service: could not find",
        ),
        ("containerservice:AgentPool", {"count": "two"}, "properties.count: must be a integer"),
        ("containerservice:AgentPool", {"agentPoolName": "gpu-pool"}, "agentPoolName: 'gpu-pool' must be 1 to 12"),
        ("containerservice:AgentPool", {"mode": "Spill"}, "properties.mode: 'Spill' must be one of"),
        (
            "machinelearningservices:OnlineEndpoint",
            {"properties": {"authMode": "Magic"}},
            "properties.authMode: 'Magic'",
        ),
        ("machinelearningservices:OnlineEndpoint", {"properties": {}}, "properties.authMode: required"),
        (
            "machinelearningservices:OnlineDeployment",
            {"properties": {"endpointComputeType": "Serverless"}},
            "properties.endpointComputeType: 'Serverless' must be one of",
        ),
        (
            "machinelearningservices:OnlineDeployment",
            {"properties": {"endpointComputeType": "Managed", "instances": 1}},
            "properties.instances: could not find member",
        ),
        ("trafficmanager:Profile", {"trafficRoutingMethod": "Random"}, "properties.trafficRoutingMethod: 'Random'"),
        (
            "keyvault:Vault",
            {"properties": {"sku": {"family": "A", "name": "standard"}}},
            "properties.tenantId: required",
        ),
        ("authorization:RoleAssignment", {"principalId": None}, "principalId: required"),
        ("consumption:Budget", {"timeGrain": "Hourly"}, "properties.timeGrain: 'Hourly' must be one of"),
    ],
)
def test_wrong_inputs_are_refused_in_a_preview(endpoint: str, type_: str, edit: dict[str, Any], told: str) -> None:
    found = Driver(AzureStandIn(endpoint)).failures(f"azure-native:{type_}", {**SAMPLES[type_], **edit})
    assert any(told in failure for failure in found), found


def test_a_preview_leaves_its_inputs_as_they_are(endpoint: str) -> None:
    stand_in = AzureStandIn(endpoint)
    for type_, sample in SAMPLES.items():
        inputs = copy.deepcopy(dict(sample))
        stand_in.preview(f"azure-native:{type_}", None, inputs)
        assert inputs == sample, type_


def test_unknown_values_pass(endpoint: str) -> None:
    driver = Driver(AzureStandIn(endpoint))
    for type_, inputs in SAMPLES.items():
        sparse = dict.fromkeys(inputs, UNKNOWN)
        assert driver.failures(f"azure-native:{type_}", sparse) == []
        checked = driver.stand_in.check("urn::x", f"azure-native:{type_}", None, inputs, b"")
        planned = driver.stand_in.preview(f"azure-native:{type_}", None, checked.inputs)
        assert UNKNOWN in planned.values()


def test_a_preview_has_the_shape_of_the_answer(world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, states = world

    def planned(type_: str, **edit: Any) -> dict[str, Any]:
        inputs = {**SAMPLES[type_], **edit}
        return driver.stand_in.preview(f"azure-native:{type_}", None, inputs)

    workspace = planned("machinelearningservices:Workspace")
    assert workspace["identity"]["principalId"] is UNKNOWN
    assert workspace["name"] == "ml-ws"
    endpoint = planned(ONLINE.partition(":")[2])
    assert endpoint["identity"]["userAssignedIdentities"] == {IDENTITY: {"principalId": UNKNOWN, "clientId": UNKNOWN}}
    assert endpoint["properties"]["scoringUri"] is UNKNOWN
    assert endpoint["properties"]["authMode"] == "Key"
    identity = {"type": "UserAssigned", "userAssignedIdentities": [UNKNOWN]}
    assert (
        planned("containerservice:ManagedCluster", identity=identity)["identity"]["userAssignedIdentities"] is UNKNOWN
    )
    enabled = planned("containerservice:ManagedCluster", oidcIssuerProfile={"enabled": True})
    assert enabled["oidcIssuerProfile"] == {"issuerURL": UNKNOWN, "enabled": True}
    group = states["resources:ResourceGroup"]
    changed = driver.stand_in.preview(
        "azure-native:resources:ResourceGroup", group, {**group.inputs, "tags": {"a": "b"}}
    )
    assert (changed["tags"], changed["location"]) == ({"a": "b"}, "westeurope")


@pytest.mark.parametrize("unknown", ["azure-native:compute:VirtualMachine", "azure-native:storage:Queue"])
def test_unknown_types_are_errors(endpoint: str, unknown: str) -> None:
    with pytest.raises(UnknownTypeError, match=unknown):
        AzureStandIn(endpoint).check("urn::x", unknown, None, {}, b"")


def test_unknown_functions_are_errors(endpoint: str) -> None:
    with pytest.raises(UnknownTypeError):
        AzureStandIn(endpoint).invoke("azure-native:compute:getVirtualMachine", {})


def test_which_changes_replace(world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, states = world

    def replaces(type_: str, edit: dict[str, Any]) -> tuple[str, ...]:
        state = states[type_]
        return driver.stand_in.diff(f"azure-native:{type_}", state, {**state.inputs, **edit}, ()).replaces

    assert replaces("storage:StorageAccount", {"accountName": "other"}) == ("accountName",)
    assert replaces("storage:StorageAccount", {"location": "northeurope"}) == ("location",)
    assert replaces("storage:StorageAccount", {"location": "West Europe"}) == ()
    assert replaces("containerservice:AgentPool", {"vmSize": "Standard_ND96"}) == ("vmSize",)
    assert replaces("containerservice:AgentPool", {"maxCount": 9}) == ()
    deployment = states["machinelearningservices:OnlineDeployment"]
    bigger = copy.deepcopy(deployment.inputs)
    bigger["properties"]["instanceType"] = "Standard_NC24ads_A100_v4"
    diff = driver.stand_in.diff("azure-native:machinelearningservices:OnlineDeployment", deployment, bigger, ())
    # mfe.json of 2024-10-01: `x-ms-mutability: [create, read]`.
    assert (diff.changed, diff.replaces) == (("properties",), ("properties",))
    bigger["properties"]["instanceType"] = deployment.inputs["properties"]["instanceType"]
    bigger["properties"]["requestSettings"]["requestTimeout"] = "PT9S"
    diff = driver.stand_in.diff("azure-native:machinelearningservices:OnlineDeployment", deployment, bigger, ())
    assert (diff.changed, diff.replaces) == (("properties",), ())


def test_names_are_made_once(endpoint: str, world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, states = world
    first = driver.stand_in.check("urn::app", "azure-native:network:RouteTable", None, PLACE, b"1")
    again = driver.stand_in.check("urn::app", "azure-native:network:RouteTable", first.inputs, PLACE, b"2")
    assert re.fullmatch(r"app[0-9a-f]{8}", first.inputs["routeTableName"])
    assert again.inputs["routeTableName"] == first.inputs["routeTableName"]
    assert re.fullmatch(r"[0-9a-f-]{36}", states["authorization:RoleAssignment"].inputs["roleAssignmentName"])


def test_the_location_comes_from_the_provider_or_the_group(endpoint: str, world: object) -> None:
    driver = Driver(AzureStandIn(endpoint))
    state = driver.create("azure-native:network:RouteTable", "rt", IN_GROUP)
    assert state.outputs["location"] == "westeurope"
    driver.stand_in.configure({"location": "northeurope", "subscriptionId": "x"})
    checked = driver.stand_in.check("urn::rt", "azure-native:network:RouteTable", None, IN_GROUP, b"")
    assert checked.inputs["location"] == "northeurope"


def test_traffic_follows_the_deployment(world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, states = world
    live = driver.stand_in.read(ONLINE, ENDPOINT, states["machinelearningservices:OnlineEndpoint"])
    assert live is not None
    assert live.outputs["properties"]["traffic"] == {"blue": 100}

    def with_traffic(**split: Any) -> dict[str, Any]:
        inputs = copy.deepcopy(SAMPLES["machinelearningservices:OnlineEndpoint"])
        inputs["properties"] |= split
        return inputs

    with pytest.raises(StandInError, match=r"traffic names deployment 'green', which does not exist"):
        driver.create(ONLINE, "thing", with_traffic(traffic={"green": 100}))
    with pytest.raises(StandInError, match=r"mirrorTraffic adds up to 60 %"):
        driver.create(ONLINE, "thing", with_traffic(mirrorTraffic={"blue": 60}))


def test_parents_and_references_must_exist(endpoint: str, world: object) -> None:
    driver = Driver(AzureStandIn(endpoint))
    with pytest.raises(StandInError, match=r"ParentResourceNotFound"):
        driver.create(
            "azure-native:machinelearningservices:OnlineDeployment",
            "d",
            {**SAMPLES["machinelearningservices:OnlineDeployment"], "endpointName": "nowhere"},
        )
    endpoint_inputs = {**SAMPLES["network:PrivateEndpoint"], "subnet": {"id": f"{SUBNET}-not"}}
    with pytest.raises(StandInError, match=r"InvalidResourceReference"):
        driver.create("azure-native:network:PrivateEndpoint", "pe", {**endpoint_inputs, "privateEndpointName": "other"})


def test_what_is_in_use_stays(world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, states = world
    with pytest.raises(StandInError, match="InUseSubnetCannotBeDeleted"):
        driver.stand_in.delete("urn", "azure-native:network:Subnet", states["network:Subnet"])


def test_keys_are_secrets(world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, _ = world
    token = "azure-native:machinelearningservices:listOnlineEndpointKeys"
    keys = driver.stand_in.invoke(token, {**IN_WORKSPACE, "endpointName": "spill"})
    assert isinstance(keys["primaryKey"], Secret)
    assert keys == driver.stand_in.invoke(token, {**IN_WORKSPACE, "endpointName": "spill"})
    found = driver.stand_in.invoke(
        "azure-native:storage:listStorageAccountKeys", {**IN_GROUP, "accountName": "spillstore"}
    )
    assert isinstance(found["keys"][0]["value"], Secret)
    client = driver.stand_in.invoke("azure-native:authorization:getClientConfig", {})
    assert set(client) == {"clientId", "objectId", "subscriptionId", "tenantId"}
    subnet = driver.stand_in.invoke(
        "azure-native:network:getSubnet", {**IN_GROUP, "virtualNetworkName": "vnet", "subnetName": "gpu"}
    )
    assert subnet["id"] == SUBNET
    with pytest.raises(StandInError, match="ResourceNotFound"):
        driver.stand_in.invoke(token, {**IN_WORKSPACE, "endpointName": "nowhere"})


def test_secret_values_do_not_come_back(world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, states = world
    live = driver.stand_in.read("azure-native:keyvault:Secret", states["keyvault:Secret"].id, None)
    assert live is not None
    assert "hunter2" not in str(live)
    wrong = {**SAMPLES["keyvault:Secret"], "properties": {"value": ["hunter2"]}}
    assert "hunter2" not in str(driver.failures("azure-native:keyvault:Secret", wrong))


def test_blobs_hold_their_bytes(endpoint: str, tmp_path: Path, world: tuple[Driver, dict[str, ResourceState]]) -> None:
    driver, _ = world
    file = tmp_path / "package.bin"
    file.write_bytes(b"one")
    inputs = {**IN_GROUP, "accountName": "spillstore", "containerName": "packages", "blobName": "a/b.bin"}
    # Assets as both engines hand them over: compared by their content's hash.
    state = driver.create(BLOB, "package", {**inputs, "source": FileAsset(file.name, tmp_path)})
    url = f"{endpoint}/_blob/spillstore/packages/a/b.bin"
    assert urllib.request.urlopen(url).read() == b"one"
    assert state.outputs["url"] == "https://spillstore.blob.core.windows.net/packages/a/b.bin"
    same = {**state.inputs, "source": FileAsset(file.name, tmp_path)}
    assert not driver.stand_in.diff(BLOB, state, same, ())
    only_hash = {**same, "source": StringAsset("", same["source"].content_hash)}
    assert not driver.stand_in.diff(BLOB, state, only_hash, ())
    file.write_bytes(b"two, longer")
    changed = {**state.inputs, "source": FileAsset(file.name, tmp_path)}
    assert driver.stand_in.diff(BLOB, state, changed, ()).changed == ("source",)
    updated = driver.update(BLOB, "package", state, changed)
    assert urllib.request.urlopen(url).read() == b"two, longer"
    assert driver.stand_in.read(BLOB, state.id, updated) is not None
    driver.stand_in.delete("urn", BLOB, updated)
    assert driver.stand_in.read(BLOB, state.id, updated) is None
    assert driver.failures(BLOB, {**inputs, "colour": 1}) == ["colour: is no argument of this resource"]
    with pytest.raises(StandInError, match="ResourceNotFound"):
        driver.create(BLOB, "package", {**inputs, "containerName": "nowhere"})


def test_a_folder_becomes_the_same_zip_each_time(tmp_path: Path) -> None:
    from spillway.twin.azure.blobs import content

    (tmp_path / "a.txt").write_text("a")
    assert content(pulumi.FileArchive(str(tmp_path))) == content(pulumi.FileArchive(str(tmp_path)))


def call(endpoint: str, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        endpoint + path, json.dumps(body).encode() if body is not None else None, method=method
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_resource_manager_answers_as_arm_does(endpoint: str, world: object) -> None:
    path = at("Microsoft.Network/routeTables/direct")
    version = wire.resource(BY_TYPE["network:RouteTable"])["apiVersion"]
    status, answer = call(endpoint, "PUT", f"{path}?api-version=2001-01-01", {"location": "westeurope"})
    assert (status, answer["error"]["code"]) == (400, "NoRegisteredProviderFound")
    assert call(endpoint, "PUT", path, {"location": "westeurope"})[1]["error"]["code"] == "MissingApiVersionParameter"
    status, made = call(endpoint, "PUT", f"{path}?api-version={version}", {"location": "westeurope", "etag": "mine"})
    assert status == 201
    assert made["properties"]["provisioningState"] == "Creating"
    assert "etag" not in made
    assert call(endpoint, "GET", f"{path}?api-version={version}")[1]["properties"]["provisioningState"] == "Creating"
    assert call(endpoint, "GET", f"{path}?api-version={version}")[1]["properties"]["provisioningState"] == "Succeeded"
    status, patched = call(endpoint, "PATCH", f"{path}?api-version={version}", {"tags": {"a": "b"}})
    assert (status, patched["tags"]) == (200, {"a": "b"})
    status, answer = call(endpoint, "PUT", f"{path}?api-version={version}", {"location": "northeurope"})
    assert (status, answer["error"]["code"]) == (409, "InvalidResourceLocation")
    assert [r["name"] for r in call(endpoint, "GET", path.rsplit("/", 1)[0])[1]["value"]].count("direct") == 1
    assert call(endpoint, "DELETE", path)[0] == 200
    assert call(endpoint, "DELETE", path)[0] == 204
    status, answer = call(endpoint, "GET", path)
    assert (status, answer["error"]["code"]) == (404, "ResourceNotFound")
    assert call(endpoint, "PUT", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/x", {})[1]["error"]["code"] == (
        "InvalidResourceType"
    )
    assert call(endpoint, "POST", f"{ACCOUNT}/explode", {})[1]["error"]["code"] == "InvalidAction"


def test_keys_can_be_rotated(endpoint: str, world: object) -> None:
    before = call(endpoint, "POST", f"{ENDPOINT}/listKeys", {})[1]
    after = call(endpoint, "POST", f"{ENDPOINT}/regenerateKeys", {"keyType": "Secondary"})[1]
    assert after["primaryKey"] == before["primaryKey"]
    assert after["secondaryKey"] != before["secondaryKey"]


def test_a_setting_that_has_no_provisioning_state_can_be_patched() -> None:
    from spillway.twin.azure.manager import ResourceManager

    manager = ResourceManager()
    group = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg"
    manager.put(group, "2024-03-01", {"location": "eastus"})
    path = f"{group}/providers/Microsoft.Insights/autoscalesettings/scale"
    capacity = {"minimum": "1", "maximum": "2", "default": "1"}
    profiles = [{"name": "gpu", "capacity": capacity, "rules": []}]
    settings = {"enabled": True, "profiles": profiles, "targetResourceUri": "/x"}
    manager.put(path, "2022-10-01", {"location": "eastus", "properties": settings})
    manager.get(path)
    patched = manager.patch(path, "2022-10-01", {"properties": {"profiles": profiles, "enabled": False}})
    assert patched["properties"]["enabled"] is False
    assert patched["properties"]["targetResourceUri"] == "/x"
