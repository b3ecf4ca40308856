from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.burst.azure_ml import AzureMlArgs, AzureMlBurst
from components.burst.settings import AzureMlSettings
from components.connectivity.azure_network import PRIVATE_ZONES, AzureNetwork, AzureNetworkArgs
from components.model_store.azure import AzureModelStore, AzureModelStoreArgs
from components.model_store.settings import AzureStoreSettings
from spillway.contracts.classes import Site
from spillway.contracts.manifest import Manifest, PackageFile, PackageSource, Serving, TensorSpec
from spillway.contracts.targets import Layout
from stacks.package import Package
from tests.support.recording import Recorded, context, of_type, record

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-000000000002"


def manifest() -> Manifest:
    return Manifest(
        name="minilm",
        version="abc",
        digest="d" * 64,
        kind="triton",
        entry_model="minilm",
        served={Layout.TRITON: "fp32", Layout.AZURE_ML: "fp16"},
        files=(
            PackageFile(path="azureml/models/minilm/config.pbtxt", sha256="a" * 64, size_bytes=1),
            PackageFile(path="triton/minilm/config.pbtxt", sha256="a" * 64, size_bytes=1),
        ),
        inputs=(TensorSpec(name="TEXT", dtype="BYTES", shape=(-1, 1)),),
        outputs=(TensorSpec(name="EMBEDDING", dtype="FP32", shape=(384,)),),
        source=PackageSource(name="MiniLM", origin="test", licence="MIT"),
        serving=Serving(max_concurrency=24, request_timeout_s=12.5),
    )


IDENTITY = {"identity": {"type": "UserAssigned", "userAssignedIdentities": {}}}
ANSWERS = {
    f"azure-native:machinelearningservices:{kind}": IDENTITY
    for kind in ("Workspace", "OnlineEndpoint", "OnlineDeployment", "BatchEndpoint", "BatchDeployment", "Compute")
}
"""Azure answers identities as a mapping, though it takes a list."""


def zones() -> dict[str, pulumi.Output[str]]:
    return {short: pulumi.Output.from_input(f"/zones/{zone}") for short, zone in PRIVATE_ZONES.items()}


def burst(settings: AzureMlSettings | None = None, **changes: Any) -> list[Recorded]:
    def build() -> None:
        args: dict[str, Any] = {
            "settings": settings or AzureMlSettings(),
            "resource_group_name": "rg",
            "location": "westeurope",
            "subscription_id": SUBSCRIPTION,
            "tenant_id": TENANT,
            "endpoints_subnet_id": "/subnets/endpoints",
            "zone_ids": zones(),
            "manifest": manifest(),
            "store_account_name": "store",
            "store_account_id": "/accounts/store",
            "store_container_name": "models",
            "model_folder": "packages/minilm/abc/azureml/models",
        }
        AzureMlBurst(context(), AzureMlArgs(**{**args, **changes}))

    return record(build, ANSWERS)


def one(found: list[Recorded], name: str) -> dict[str, Any]:
    (only,) = of_type(found, f"azure-native:{name}")
    return only.inputs


def test_workspace_has_no_public_access_and_its_own_parts() -> None:
    found = burst()
    workspace = one(found, "machinelearningservices:Workspace")
    assert workspace["publicNetworkAccess"] == "Disabled"
    assert workspace["v1LegacyMode"] is False
    assert {"storageAccount", "keyVault", "containerRegistry", "applicationInsights"} <= workspace.keys()
    assert one(found, "keyvault:Vault")["properties"]["enablePurgeProtection"] is True
    assert one(found, "containerregistry:Registry")["publicNetworkAccess"] == "Disabled"
    groups = {
        connection["groupIds"][0]
        for r in of_type(found, "azure-native:network:PrivateEndpoint")
        for connection in r.inputs["privateLinkServiceConnections"]
    }
    assert groups == {"amlworkspace", "blob", "file", "vault", "registry"}


@pytest.mark.parametrize(("public", "access"), [(True, "Enabled"), (False, "Disabled")])
def test_only_the_endpoint_can_be_public(public: bool, access: str) -> None:
    found = burst(public_endpoint=public)
    assert one(found, "machinelearningservices:OnlineEndpoint")["properties"]["publicNetworkAccess"] == access
    assert one(found, "machinelearningservices:Workspace")["publicNetworkAccess"] == "Disabled"
    template = one(found, "resources:Deployment")["properties"]["template"]
    assert template["resources"][0]["properties"]["publicNetworkAccess"] == access


def test_concurrency_and_timeout_come_from_the_manifest() -> None:
    request = one(burst(), "machinelearningservices:OnlineDeployment")["properties"]["requestSettings"]
    assert request == {"maxConcurrentRequestsPerInstance": 24, "requestTimeout": "PT12.5S", "maxQueueWait": "PT0.5S"}


def test_settings_override_the_manifest() -> None:
    settings = AzureMlSettings(max_concurrent_requests_per_instance=3, request_timeout_s=7)
    request = one(burst(settings), "machinelearningservices:OnlineDeployment")["properties"]["requestSettings"]
    assert request["maxConcurrentRequestsPerInstance"] == 3
    assert request["requestTimeout"] == "PT7S"


def test_traffic_is_its_own_step() -> None:
    settings = AzureMlSettings(traffic={"blue": 90, "green": 10})
    found = burst(settings)
    assert "traffic" not in one(found, "machinelearningservices:OnlineEndpoint")["properties"]
    template = one(found, "resources:Deployment")["properties"]["template"]
    assert template["resources"][0]["properties"]["traffic"] == {"blue": 90, "green": 10}


def test_live_instances_are_kept() -> None:
    assert one(burst(live_instances=3), "machinelearningservices:OnlineDeployment")["sku"]["capacity"] == 3
    assert one(burst(), "machinelearningservices:OnlineDeployment")["sku"]["capacity"] == 1


@pytest.mark.parametrize("batch", [True, False])
def test_batch_endpoint_scales_to_zero_or_is_absent(batch: bool) -> None:
    found = burst(AzureMlSettings() if batch else AzureMlSettings(batch=None))
    computes = of_type(found, "azure-native:machinelearningservices:Compute")
    assert len(of_type(found, "azure-native:machinelearningservices:BatchEndpoint")) == batch
    assert [c.inputs["properties"]["properties"]["scaleSettings"]["minNodeCount"] for c in computes] == [0] * batch


def test_model_store_uploads_the_azure_folder_only() -> None:
    def build() -> None:
        args = AzureModelStoreArgs(
            settings=AzureStoreSettings(),
            resource_group_name="rg",
            location="westeurope",
            subscription_id=SUBSCRIPTION,
            endpoints_subnet_id="/subnets/endpoints",
            zone_ids=zones(),
            manifest=manifest(),
            content=Package(manifest(), Path("/nowhere")).content(Site.AZURE_ML),
        )
        AzureModelStore(context(), args)

    found = record(build)
    blobs = [r.inputs["blobName"] for r in of_type(found, "azure-native:storage:Blob")]
    assert blobs == ["packages/minilm/abc/azureml/models/minilm/config.pbtxt"]
    account = one(found, "storage:StorageAccount")
    assert account["allowSharedKeyAccess"] is False
    assert account["publicNetworkAccess"] == "Disabled"
    assert 3 <= len(account["accountName"]) <= 24


def test_network_has_private_subnets_and_zones() -> None:
    args = AzureNetworkArgs(resource_group_name="rg", location="westeurope", cidr="10.41.0.0/16")
    found = record(lambda: AzureNetwork(context(), args))
    subnets = of_type(found, "azure-native:network:Subnet")
    assert {s.inputs["defaultOutboundAccess"] for s in subnets} == {False}
    assert len(of_type(found, "azure-native:privatedns:PrivateZone")) == len(PRIVATE_ZONES)
