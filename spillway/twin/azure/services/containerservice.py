"""AKS: clusters and their node pools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from spillway.twin.azure.row import LOCATION, Action, Inline, Keys, encoded, in_group
from spillway.twin.azure.sample import IDENTITY, IN_GROUP, PLACE, SUBNET, Sample


def _kubeconfigs(cluster: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    return {"kubeconfigs": [{"name": "clusterUser", "value": encoded(_kubeconfig(cluster, keys[0]))}]}


def _kubeconfig(cluster: Mapping[str, Any], token: str) -> str:
    name = cluster["name"]
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": f"https://{cluster['properties']['fqdn']}:443"}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )


ROWS: Final = (
    in_group(
        "containerservice:ManagedCluster",
        "Microsoft.ContainerService/managedClusters/{resourceName}",
        "containerservice.ManagedCluster",
        create_only=LOCATION | {"dnsPrefix", "nodeResourceGroup"},
        identity=True,
        computed={
            "fqdn": "{name}.hcp.{location}.azmk8s.io",
            "privateFQDN": "{name}.privatelink.{location}.azmk8s.io",
            "oidcIssuerProfile": {"issuerURL": "https://{location}.oic.prod-aks.azure.com/{uuid}/"},
            "currentKubernetesVersion": "1.34.0",
            "identityProfile": {"kubeletidentity": {"clientId": "{uuid}", "objectId": "{uuid}"}},
            "maxAgentPools": 100,
        },
        inline=Inline("agentPoolProfiles", "agentPools", "containerservice:AgentPool"),
        actions=(
            Action(
                "listClusterUserCredential",
                "containerservice:listManagedClusterUserCredentials",
                _kubeconfigs,
                "kubeconfigs",
            ),
            Action(
                "listClusterAdminCredential",
                "containerservice:listManagedClusterAdminCredentials",
                _kubeconfigs,
                "kubeconfigs",
            ),
        ),
        sample=Sample(
            {
                **PLACE,
                "resourceName": "aks",
                "dnsPrefix": "spill",
                "kubernetesVersion": "1.34",
                "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
                "apiServerAccessProfile": {"enablePrivateCluster": True},
                "agentPoolProfiles": [
                    {
                        "name": "system",
                        "mode": "System",
                        "count": 2,
                        "vmSize": "Standard_D4s_v5",
                        "osType": "Linux",
                        "type": "VirtualMachineScaleSets",
                        "vnetSubnetID": SUBNET,
                        "enableAutoScaling": True,
                        "minCount": 2,
                        "maxCount": 4,
                    }
                ],
                "networkProfile": {"networkPlugin": "azure", "networkPolicy": "cilium", "networkDataplane": "cilium"},
            }
        ),
    ),
    in_group(
        "containerservice:AgentPool",
        "Microsoft.ContainerService/managedClusters/{resourceName}/agentPools/{agentPoolName}",
        "containerservice.AgentPool",
        create_only=frozenset(
            {
                "vmSize",
                "osType",
                "vnetSubnetID",
                "availabilityZones",
                "osDiskType",
                "osDiskSizeGB",
                "maxPods",
                "gpuInstanceProfile",
            }
        ),
        name_rule=(r"[a-z][a-z0-9]{0,11}", "1 to 12 lower-case letters and digits, a letter first"),
        sample=Sample(
            {
                **IN_GROUP,
                "resourceName": "aks",
                "agentPoolName": "gpu",
                "mode": "User",
                "vmSize": "Standard_NC24ads_A100_v4",
                "count": 1,
                "type": "VirtualMachineScaleSets",
                "enableAutoScaling": True,
                "minCount": 0,
                "maxCount": 4,
                "nodeTaints": ["nvidia.com/gpu=present:NoSchedule"],
                "vnetSubnetID": SUBNET,
            }
        ),
    ),
    in_group(
        "containerservice:MaintenanceConfiguration",
        "Microsoft.ContainerService/managedClusters/{resourceName}/maintenanceConfigurations/{configName}",
        "containerservice.MaintenanceConfiguration",
        sample=Sample(
            {
                **IN_GROUP,
                "resourceName": "aks",
                "configName": "default",
                "timeInWeek": [{"day": "Sunday", "hourSlots": [2]}],
            }
        ),
    ),
)
