from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.burst.azure_ml.component import AzureMlBurst
from components.burst.azure_ml.deployments import VLLM_WORDS
from components.burst.azure_ml.route import route
from components.burst.azure_ml.rules import IMAGE_FOLDER
from components.burst.azure_ml.settings import AzureMlDeployment, AzureMlSettings
from components.burst.azure_ml.workspace import AzureMlArgs
from components.connectivity.azure_settings import PRIVATE_ZONES
from components.model_store.azure import AzureModelStore, AzureModelStoreArgs
from components.model_store.settings import AzureStoreSettings
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.credentials import EntraToken
from spillway.contracts.manifest import LanguageServing, Manifest, PackageFile, PackageSource, Serving, TensorSpec
from spillway.contracts.server_routes import VLLM_VERSION
from spillway.contracts.targets import Layout
from tests.support.paths import ROOT
from tests.support.recording import Recorded, context, of_type, record

ML_IDENTITY = "azure-native:managedidentity"
SOFT_DELETED = (("machinelearningservices:Workspace", "workspaceName"), ("keyvault:Vault", "vaultName"))
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
ANSWERS = {f"{ML_IDENTITY}:UserAssignedIdentity": {"principalId": "1111"}} | {
    f"azure-native:machinelearningservices:{kind}": IDENTITY
    for kind in ("Workspace", "OnlineEndpoint", "OnlineDeployment")
}
"""Azure answers identities as a mapping, though it takes a list."""


def zones() -> dict[str, pulumi.Output[str]]:
    return {short: pulumi.Output.from_input(f"/zones/{zone}") for short, zone in PRIVATE_ZONES.items()}


def burst(
    settings: AzureMlSettings | None = None, answers: dict[str, dict[str, Any]] | None = None, **changes: Any
) -> list[Recorded]:
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
            "model_key": "azureml/models/",
            "package_folder": "packages/minilm/abc/azureml/models",
        }
        AzureMlBurst(context(), AzureMlArgs(**{**args, **changes}))

    return record(build, {**ANSWERS, **(answers or {})})


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
    assert request == {"maxConcurrentRequestsPerInstance": 24, "requestTimeout": "PT12.5S", **QUEUE}


def test_settings_override_the_manifest() -> None:
    settings = AzureMlSettings(max_concurrent_requests_per_instance=3, request_timeout_s=7)
    request = one(burst(settings), "machinelearningservices:OnlineDeployment")["properties"]["requestSettings"]
    assert request["maxConcurrentRequestsPerInstance"] == 3
    assert request["requestTimeout"] == "PT7S"


QUEUE = {"maxQueueWait": "PT0.5S"}
"""Filled in by Pulumi's SDK where nothing is said; Azure ignores it."""
CANARY = AzureMlSettings(
    vm_size="Standard_NC4as_T4_v3",
    min_instances=2,
    deployments={
        "blue": AzureMlDeployment(package_version="old", traffic=90),
        "green": AzureMlDeployment(traffic=10, min_instances=1),
        "grey": AzureMlDeployment(mirror=20, vm_size="Standard_NC8as_T4_v3"),
    },
)


def test_traffic_is_its_own_step_over_deployments_side_by_side() -> None:
    found = burst(CANARY)
    assert "traffic" not in one(found, "machinelearningservices:OnlineEndpoint")["properties"]
    split = one(found, "resources:Deployment")["properties"]["template"]["resources"][0]["properties"]
    assert split["traffic"] == {"blue-nc4ast4v3": 90, "green-nc4ast4v3": 10}
    assert split["mirrorTraffic"] == {"grey-nc8ast4v3": 20}
    made = of_type(found, "azure-native:machinelearningservices:OnlineDeployment")
    assert {each.inputs["deploymentName"] for each in made} == {*split["traffic"], *split["mirrorTraffic"]}
    scaled = of_type(found, "azure-native:monitor:AutoscaleSetting")
    assert sorted(each.inputs["profiles"][0]["capacity"]["minimum"] for each in scaled) == ["1", "2", "2"]


def test_an_earlier_version_stays_while_a_deployment_serves_it() -> None:
    models = of_type(burst(CANARY), "azure-native:machinelearningservices:ModelVersion")
    paths = {each.inputs["version"]: each.inputs["properties"]["modelUri"].partition("/paths/")[2] for each in models}
    assert paths == {v: f"packages/minilm/{v}/azureml/models" for v in ("old", "abc")}


def test_what_holds_data_or_secrets_says_who_uses_it() -> None:
    settings = {
        r.inputs["resourceUri"].removeprefix("spillway-test-"): {log["category"] for log in r.inputs["logs"]}
        for r in of_type(burst(), "azure-native:monitor:DiagnosticSetting")
    }
    blobs = {"StorageRead", "StorageWrite", "StorageDelete"}
    assert [categories for resource, categories in settings.items() if "blobServices" in resource] == [blobs, blobs]
    assert settings["azureml-vault-id"] == {"AuditEvent"}
    assert {"azureml-registry-id", "azureml-workspace-id", "azureml-endpoint-id"} <= settings.keys()


def test_slots_follow_the_split() -> None:
    """Blue has nine tenths on two instances: it is full when 2 / 0.9 instances' worth of requests are on their way."""
    found = route(CANARY, "westeurope", manifest(), "host", 5.0)
    assert found.slots == int(manifest().serving.slots * 2 / 0.9)
    assert found.with_instances(4 / 0.9).slots == 2 * found.slots, "as four instances of blue are published"
    assert found.capacity == "published"


def test_gateways_show_a_token_of_entras_and_there_is_no_key() -> None:
    """https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint: its audience; an endpoint
    takes one kind of credential."""
    found = route(AzureMlSettings(), "westeurope", manifest(), "host", 5.0)
    assert found.auth == EntraToken(audience="https://ml.azure.com")
    made = burst()
    template = one(made, "resources:Deployment")["properties"]["template"]["resources"][0]
    endpoint = one(made, "machinelearningservices:OnlineEndpoint")
    assert [part["properties"]["authMode"] for part in (endpoint, template)] == ["AADToken", "AADToken"]


def test_names_are_of_one_customer_and_never_come_again() -> None:
    """As a second stack in another subscription has them, whose identity has another principal."""
    principal = {f"{ML_IDENTITY}:UserAssignedIdentity": {"principalId": "2222"}}
    ours, theirs = burst(), burst(answers=principal, subscription_id=TENANT)
    named = (*SOFT_DELETED, ("machinelearningservices:OnlineEndpoint", "endpointName"))
    first, second = ([one(found, kind)[key] for kind, key in named] for found in (ours, theirs))
    assert not set(first) & set(second)
    assert [len(name) <= most for name, most in zip(first, (33, 24, 32), strict=True)] == [True] * 3


def test_what_serves_may_read_models_and_images_alone() -> None:
    found = burst(answers={f"{ML_IDENTITY}:UserAssignedIdentity": {"principalId": "p"}})
    [endpoint] = of_type(found, "azure-native:machinelearningservices:OnlineEndpoint")
    assert endpoint.inputs["identity"]["userAssignedIdentities"] == ["spillway-test-azureml-serving-id"]
    roles = {
        assignment.inputs["roleDefinitionId"].rpartition("/")[2]
        for assignment in of_type(found, "azure-native:authorization:RoleAssignment")
        if "-serving-" in assignment.name
    }
    assert roles == {ROLES[name] for name in ("Storage Blob Data Reader", "AcrPull", "Monitoring Metrics Publisher")}


def test_another_image_is_another_version_of_the_environment() -> None:
    versions = {
        one(burst(AzureMlSettings(container_image=image)), "machinelearningservices:EnvironmentVersion")["version"]
        for image in ("x.azurecr.io/triton@sha256:1", "x.azurecr.io/triton@sha256:2")
    }
    assert len(versions) == 2


def test_the_model_store_is_closed() -> None:
    def build() -> None:
        args = AzureModelStoreArgs(
            settings=AzureStoreSettings(),
            resource_group_name="rg",
            location="westeurope",
            subscription_id=SUBSCRIPTION,
            endpoints_subnet_id="/subnets/endpoints",
            zone_ids=zones(),
        )
        AzureModelStore(context(), args)

    found = record(build)
    assert not of_type(found, "azure-native:storage:Blob")
    account = one(found, "storage:StorageAccount")
    assert account["allowSharedKeyAccess"] is False
    assert account["publicNetworkAccess"] == "Disabled"
    assert 3 <= len(account["accountName"]) <= 24


def test_the_managed_network_is_provisioned_with_the_workspace() -> None:
    """Until it is, online deployments are refused with WorkspaceManagedNetworkNotReady."""
    [workspace] = of_type(burst(), "azure-native:machinelearningservices:Workspace")
    assert workspace.inputs["managedNetwork"]["isolationMode"] == "AllowOnlyApprovedOutbound"
    assert workspace.inputs["provisionNetworkNow"] is True


def language_model() -> Manifest:
    return manifest().model_copy(
        update={
            "kind": "vllm",
            "served": {Layout.VLLM: "w8a16"},
            "language": LanguageServing(
                max_model_len=4096,
                max_num_seqs=32,
                tensor_parallel_size=2,
                dtype="bfloat16",
                quantization="none",
                scheme="none",
                tokenizer="T",
                vocabulary=9,
                chat_template=True,
                arguments={"chat-template": "{folder}/chat.jinja"},
            ),
        }
    )


def test_a_language_model_is_a_custom_model_in_vllms_image() -> None:
    settings = AzureMlSettings(container_image="acr.azurecr.io/spillway-vllm:0.30.0")
    made = burst(settings, manifest=language_model(), package_folder="packages/minilm/abc/vllm", model_key="vllm/")
    kinds = "azure-native:machinelearningservices:"
    (model,) = of_type(made, f"{kinds}ModelVersion")
    assert model.inputs["properties"]["modelType"] == "custom_model"
    (environment,) = of_type(made, f"{kinds}EnvironmentVersion")
    routes = environment.inputs["properties"]["inferenceConfig"]
    assert routes["scoringRoute"] == {"path": "/", "port": 8000.0}
    assert {routes[kind]["path"] for kind in ("livenessRoute", "readinessRoute")} == {"/health"}


def test_vllm_gets_its_arguments_as_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the image's entry point makes the command line of it, with the folder that Azure names."""
    settings = AzureMlSettings(container_image="acr.azurecr.io/spillway-vllm:0.30.0")
    made = burst(settings, manifest=language_model(), package_folder="packages/minilm/abc/vllm", model_key="vllm/")
    (deployment,) = of_type(made, "azure-native:machinelearningservices:OnlineDeployment")
    variables = deployment.inputs["properties"]["environmentVariables"]
    assert variables["HF_HUB_OFFLINE"] == "1"
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "config.json").write_text("{}")
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv(VLLM_WORDS, variables[VLLM_WORDS])
    words = runpy.run_path(str(ROOT / IMAGE_FOLDER / "serve.py"))["command"]()
    assert words[:3] == ["vllm", "serve", f"{tmp_path}/vllm"]
    given = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
    assert given["--tensor-parallel-size"] == "2"
    assert given["--chat-template"] == f"{tmp_path}/vllm/chat.jinja"
    assert given["--port"] == "8000"
    assert f"vllm-openai:v{VLLM_VERSION}" in (ROOT / IMAGE_FOLDER / "Dockerfile").read_text()
