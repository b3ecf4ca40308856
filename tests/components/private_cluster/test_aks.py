from __future__ import annotations

import base64
from typing import Any

import pulumi
import pytest
import yaml
from pydantic import ValidationError

from components.private_cluster import aks
from components.private_cluster.aks import Aks, AksArgs, kubeconfig
from components.private_cluster.settings import AksSettings
from spillway.contracts.azure_roles import ROLES
from tests.support.recording import Recorded, context, of_type, record

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-000000000002"
SUBNET = "/subscriptions/s/subnets/nodes"
CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://c"}}],
    "users": [
        {
            "name": "u",
            "user": {
                "exec": {
                    "command": "kubelogin",
                    "args": [
                        "get-token",
                        *("--environment", "AzurePublicCloud"),
                        *("--server-id", "6dae42f8"),
                        *("--client-id", "80faf920"),
                        *("--tenant-id", TENANT),
                        *("--login", "devicecode"),
                    ],
                }
            },
        }
    ],
}
ANSWERS = {
    "azure-native:containerservice:ManagedCluster": {
        # Azure answers identities as a mapping, though it takes a list.
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {}},
        "oidcIssuerProfile": {"enabled": True, "issuerURL": "https://issuer.example/abc/"},
    }
}


def encoded() -> str:
    return base64.b64encode(yaml.safe_dump(CONFIG).encode()).decode()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    result = aks.containerservice.ListManagedClusterUserCredentialsResult
    one = {"name": "clusterUser", "value": encoded()}
    found = result(kubeconfigs=[aks.containerservice.outputs.CredentialResultResponse(**one)])
    monkeypatch.setattr(
        aks.containerservice,
        "list_managed_cluster_user_credentials_output",
        lambda **_: pulumi.Output.from_input(found),
    )


def build(
    settings: dict[str, Any] | None = None,
    seen: dict[str, Any] | None = None,
    api_cidrs: tuple[str, ...] = (),
    vnet_id: str | None = None,
) -> list[Recorded]:
    def make() -> None:
        made = Aks(
            context(),
            AksArgs(
                settings=AksSettings.model_validate({"kind": "aks", "admin_group_ids": ["g"], **(settings or {})}),
                resource_group_name="rg",
                location="westeurope",
                subscription_id=SUBSCRIPTION,
                tenant_id=TENANT,
                nodes_subnet_id=SUBNET,
                api_cidrs=api_cidrs,
                vnet_id=vnet_id,
            ),
        )
        if seen is not None:
            made.kubeconfig.apply(lambda text: seen.update(kubeconfig=text))
            made.oidc_issuer_url.apply(lambda url: seen.update(issuer=url))

    return record(make, ANSWERS)


def one(found: list[Recorded], name: str) -> dict[str, Any]:
    (only,) = of_type(found, f"azure-native:{name}")
    return only.inputs


def test_api_server_is_private_and_knows_no_local_account() -> None:
    cluster = one(build({"admin_group_ids": ["g-1"]}), "containerservice:ManagedCluster")
    access = cluster["apiServerAccessProfile"]
    assert access["enablePrivateCluster"] is True
    assert access["enablePrivateClusterPublicFQDN"] is True
    assert access["disableRunCommand"] is True
    assert access["privateDNSZone"] == "none"
    assert cluster["disableLocalAccounts"] is True
    assert cluster["aadProfile"]["enableAzureRBAC"] is True
    assert cluster["aadProfile"]["adminGroupObjectIDs"] == ["g-1"]
    assert cluster["identity"]["type"] == "UserAssigned"


def test_the_control_plane_may_join_the_stacks_own_network_and_no_landing_zones() -> None:
    """https://github.com/MicrosoftDocs/azure-aks-docs/issues/110: a role on the subnet alone was refused."""
    found = build(vnet_id="/subscriptions/s/virtualNetworks/own")
    role = one(found, "authorization:RoleDefinition")
    assert role["permissions"] == [{"actions": ["Microsoft.Network/virtualNetworks/join/action"]}]
    scopes = {r.inputs["scope"] for r in of_type(found, "azure-native:authorization:RoleAssignment")}
    assert scopes == {SUBNET, "/subscriptions/s/virtualNetworks/own"}
    assert of_type(build(), "azure-native:authorization:RoleDefinition") == []


def test_the_deployers_networks_reach_it_over_the_internet_where_they_are_named() -> None:
    access = one(build(api_cidrs=("198.51.100.0/24",)), "containerservice:ManagedCluster")["apiServerAccessProfile"]
    assert (access["enablePrivateCluster"], access["authorizedIPRanges"]) == (False, ["198.51.100.0/24"])


def test_the_deployer_may_use_the_cluster() -> None:
    principal = "00000000-0000-4000-8000-000000000009"
    found = build({"admin_group_ids": [], "deployer_principal_id": principal})
    [grant] = [r for r in of_type(found, "azure-native:authorization:RoleAssignment") if r.name.endswith("-deployer")]
    assert grant.inputs["principalId"] == principal
    assert grant.inputs["roleDefinitionId"].endswith(ROLES["Azure Kubernetes Service RBAC Cluster Admin"])
    with pytest.raises(ValueError, match="deployer_principal_id"):
        AksSettings.model_validate({"kind": "aks"})


def test_isolated_nodes_start_from_a_registry() -> None:
    registry = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/own"
    cluster = one(build({"outbound": "none", "bootstrap_registry_id": registry}), "containerservice:ManagedCluster")
    assert cluster["bootstrapProfile"] == {"artifactSource": "Cache", "containerRegistryId": registry}
    with pytest.raises(ValueError, match="bootstrap_registry_id"):
        AksSettings.model_validate({"kind": "aks", "admin_group_ids": ["g"], "outbound": "none"})


def test_workloads_get_identities_of_their_own() -> None:
    cluster = one(build(), "containerservice:ManagedCluster")
    assert cluster["oidcIssuerProfile"] == {"enabled": True}
    assert cluster["securityProfile"]["workloadIdentity"] == {"enabled": True}


def test_network_policies_are_enforced() -> None:
    profile = one(build(), "containerservice:ManagedCluster")["networkProfile"]
    assert (profile["networkPlugin"], profile["networkPluginMode"]) == ("azure", "overlay")
    assert profile["networkPolicy"] == profile["networkDataplane"] == "cilium"
    assert profile["dnsServiceIP"] == "172.21.0.10"


def test_pools_are_bounded_spread_encrypted_and_tainted() -> None:
    found = build({"gpu_pool": {"min_nodes": 1, "max_nodes": 5}, "zones": ["1", "2"]})
    (system,) = one(found, "containerservice:ManagedCluster")["agentPoolProfiles"]
    gpu = one(found, "containerservice:AgentPool")
    for pool in (system, gpu):
        assert pool["enableAutoScaling"] is True
        assert pool["enableEncryptionAtHost"] is True
        assert pool["enableNodePublicIP"] is False
        assert pool["availabilityZones"] == ["1", "2"]
        assert pool["vnetSubnetID"] == SUBNET
    assert (system["mode"], gpu["mode"]) == ("System", "User")
    assert (gpu["minCount"], gpu["maxCount"]) == (1, 5)
    assert gpu["nodeTaints"] == ["nvidia.com/gpu=present:NoSchedule"]
    # The GPU operator brings it; two drivers would fight.
    assert gpu["gpuProfile"] == {"driver": "None"}
    assert gpu["nodeLabels"]["nvidia.com/gpu.present"] == "true"


def test_amd_pool_brings_no_nvidia_driver() -> None:
    gpu = one(
        build({"accelerator": "amd", "gpu_pool": {"vm_size": "Standard_ND96isr_MI300X_v5"}}),
        "containerservice:AgentPool",
    )
    assert gpu["nodeTaints"] == ["amd.com/gpu=present:NoSchedule"]
    assert gpu["gpuProfile"] == {"driver": "None"}


def test_identity_may_use_the_nodes_subnet_and_nothing_else() -> None:
    assignment = one(build(), "authorization:RoleAssignment")
    assert assignment["scope"] == SUBNET
    assert assignment["roleDefinitionId"].endswith("4d97b98b-1d4f-4787-a291-c67834d212e7")


def test_control_plane_logs_are_kept() -> None:
    found = build({"log_retention_days": 120})
    assert one(found, "operationalinsights:Workspace")["retentionInDays"] == 120
    categories = {log["category"] for log in one(found, "monitor:DiagnosticSetting")["logs"]}
    assert {"kube-apiserver", "kube-audit-admin", "guard"} <= categories


def test_an_upgrade_takes_no_gpu_node_more() -> None:
    """As Microsoft upgrades a pool in its place: ``--max-surge 0 --max-unavailable 1``
    (https://learn.microsoft.com/azure/aks/stateful-workload-upgrades)."""
    found = build()
    gpu = one(found, "containerservice:AgentPool")["upgradeSettings"]
    (system,) = one(found, "containerservice:ManagedCluster")["agentPoolProfiles"]
    assert (gpu["maxSurge"], gpu["maxUnavailable"]) == ("0", "1")
    assert system["upgradeSettings"]["maxSurge"] == "1"


def test_upgrades_keep_to_the_window() -> None:
    found = build({"maintenance_day": "Saturday", "maintenance_start": "23:30"})
    assert one(found, "containerservice:ManagedCluster")["autoUpgradeProfile"]["upgradeChannel"] == "patch"
    windows = of_type(found, "azure-native:containerservice:MaintenanceConfiguration")
    assert {w.inputs["configName"] for w in windows} == {
        "aksManagedAutoUpgradeSchedule",
        "aksManagedNodeOSUpgradeSchedule",
    }
    for window in windows:
        assert window.inputs["maintenanceWindow"]["startTime"] == "23:30"
        assert window.inputs["maintenanceWindow"]["schedule"]["weekly"]["dayOfWeek"] == "Saturday"


def test_defender_is_a_choice() -> None:
    assert "defender" not in one(build(), "containerservice:ManagedCluster")["securityProfile"]
    with_it = one(build({"defender": True}), "containerservice:ManagedCluster")["securityProfile"]
    assert with_it["defender"]["securityMonitoring"] == {"enabled": True}


def test_kubeconfig_is_secret_and_logs_in_as_the_settings_say() -> None:
    seen: dict[str, Any] = {}
    build({"login": "workloadidentity"}, seen)
    arguments = yaml.safe_load(seen["kubeconfig"])["users"][0]["user"]["exec"]["args"]
    assert arguments[0] == "get-token"
    assert arguments[-2:] == ["--login", "workloadidentity"]
    assert arguments[arguments.index("--server-id") + 1] == "6dae42f8"
    assert "--client-id" not in arguments
    assert seen["issuer"] == "https://issuer.example/abc/"


def test_kubeconfig_without_a_log_in_command_stays() -> None:
    text = yaml.safe_dump({"users": [{"name": "u", "user": {"token": "t"}}]})
    changed = kubeconfig(base64.b64encode(text.encode()).decode(), "azurecli")
    assert yaml.safe_load(changed) == yaml.safe_load(text)


def test_authorised_networks_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"connectivity.deployer_cidrs"):
        AksSettings.model_validate({"kind": "aks", "admin_group_ids": ["g"], "authorised_cidrs": ["198.51.100.0/24"]})
