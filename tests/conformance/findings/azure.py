"""The findings of a review of Azure at commit 9ca60fb, put back into today's plans with that day's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from spillway.contracts.azure_roles import ROLES
from spillway.contracts.resources import Resource
from tests.conformance.findings.aws import fixed, no_way_to_azure
from tests.conformance.findings.mutations import (
    Case,
    Fault,
    added,
    both,
    changed,
    each,
    of_type,
    option,
    routed,
    without,
)

AKS: Final = "azure-native:containerservice:ManagedCluster"
ML: Final = "azure-native:machinelearningservices"
ACCOUNT: Final = "azure-native:storage:StorageAccount"
ASSIGNMENT: Final = "azure-native:authorization:RoleAssignment"
BUDGET: Final = "azure-native:consumption:Budget"
CREDENTIAL: Final = "azure-native:managedidentity:FederatedIdentityCredential"
DEPLOYMENT: Final = f"{ML}:OnlineDeployment"
ENDPOINT: Final = f"{ML}:OnlineEndpoint"
WORKSPACE: Final = f"{ML}:Workspace"


def blob(resources: list[Resource]) -> list[Resource]:
    """A package that the provider uploads, to a store without keys and without a public address."""
    store = of_type(resources, ACCOUNT, "-models")
    closed = {**store.props, "allowSharedKeyAccess": False, "publicNetworkAccess": "Disabled"}
    made = added("azure-native:storage:Blob", "package", {"accountName": store.props["accountName"]})
    return both(each(ACCOUNT, lambda one: replace(one, props=closed), "-models"), made)(resources)


NEVER_PROVISIONED = both(
    changed(WORKSPACE, "provisionNetworkNow", None),
    without(f"{ML}:ManagedNetworkProvision"),
    option(DEPLOYMENT, dependencies=frozenset()),
)
NO_WAY_TO_THE_STORE = both(
    changed(WORKSPACE, "managedNetwork.outboundRules", {}), without(f"{ML}:ManagedNetworkSettingsRule")
)
_REQUIRED: Final = ("Contributor", "Key Vault Administrator", "Azure AI Enterprise Network Connection Approver")


def half_of_the_roles(resources: list[Resource]) -> list[Resource]:
    """Blob Data Contributor, AcrPull and the like; nothing of what the workspace itself needs."""
    ids = {ROLES[role] for role in _REQUIRED}
    return [
        one
        for one in resources
        if one.type != ASSIGNMENT or str(one.get("roleDefinitionId")).rpartition("/")[2] not in ids
    ]


def triton_batch(resources: list[Resource]) -> list[Resource]:
    """A batch deployment of a Triton model, without code and environment."""
    workspace = of_type(resources, WORKSPACE).props["workspaceName"]
    model = added(f"{ML}:ModelVersion", "batch-model", {"properties": {"modelType": "triton_model"}})
    props = {
        "workspaceName": workspace,
        "deploymentName": "p2",
        "properties": {"model": {"assetId": "batch-model", "referenceType": "Id"}},
    }
    return both(model, added(f"{ML}:BatchDeployment", "p2", props))(resources)


NOBODY_INSIDE = both(
    changed(AKS, "apiServerAccessProfile.enablePrivateCluster", True),
    changed(AKS, "apiServerAccessProfile.disableRunCommand", True),
    without("azure-native:compute:VirtualMachine"),
    without("azure-native:containerinstance:ContainerGroup"),
)
_RULE: Final[Mapping[str, Any]] = {"direction": "Inbound", "sourcePortRange": "*"}
PUBLIC_BEHIND_OWN_RULES = both(
    changed("kubernetes:core/v1:Service", "metadata.annotations", {}, "-gateway-service"),
    changed("kubernetes:core/v1:Service", "spec.loadBalancerSourceRanges", ["198.51.100.0/24"], "-gateway-service"),
    changed(
        "azure-native:network:NetworkSecurityGroup",
        "securityRules",
        [
            {
                **_RULE,
                "name": "https-from-known-networks",
                "priority": 100,
                "access": "Allow",
                "protocol": "Tcp",
                "sourceAddressPrefixes": ["198.51.100.0/24"],
                "destinationAddressPrefix": "VirtualNetwork",
                "destinationPortRange": "443",
            },
            {
                **_RULE,
                "name": "deny-internet",
                "priority": 4000,
                "access": "Deny",
                "protocol": "*",
                "sourceAddressPrefix": "Internet",
                "destinationAddressPrefix": "*",
                "destinationPortRange": "*",
            },
        ],
        "-nsg",
    ),
)


def split_elsewhere(resources: list[Resource]) -> list[Resource]:
    """The endpoint's own body has no split, changes with its tags, and an ARM template sets the split."""
    endpoint = of_type(resources, ENDPOINT)
    name = f"{endpoint.props['workspaceName']}/{endpoint.props['endpointName']}"
    made = {
        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        "name": name,
        "properties": {"traffic": {"blue": 100}},
    }
    step = added("azure-native:resources:Deployment", "traffic", {"properties": {"template": {"resources": [made]}}})
    return both(option(ENDPOINT, ignore_changes=("properties.traffic",)), step)(resources)


def batch_of_nobody(resources: list[Resource]) -> list[Resource]:
    """A batch cluster that the cost signal was not told of."""
    workspace = of_type(resources, WORKSPACE)
    props = {"workspaceName": workspace.props["workspaceName"], "properties": {"computeType": "AmlCompute"}}
    return added(f"{ML}:Compute", "batch-9ca60fb", props, f"{workspace.id}/computes/batch-9ca60fb")(resources)


def green(resources: list[Resource]) -> list[Resource]:
    """Traffic for a deployment that nothing makes."""
    deployment = of_type(resources, DEPLOYMENT).props
    traffic = {deployment["deploymentName"]: 90, "green": 10}
    props = {"endpointName": deployment["endpointName"], "properties": {"traffic": traffic}}
    return added(ENDPOINT, "green-endpoint", props)(resources)


def pods_are_the_workspace(resources: list[Resource]) -> list[Resource]:
    """The copy of packages acts as the identity of Azure ML."""
    identity = str(of_type(resources, WORKSPACE).props["primaryUserAssignedIdentity"]).rpartition("/")[2]
    return added(CREDENTIAL, "package-sync", {"resourceName": identity})(resources)


def stock_image(resources: list[Resource]) -> list[Resource]:
    """NVIDIA's own image, which is told nothing and lies where no way leads."""
    image = {
        "image": "nvcr.io/nvidia/tritonserver:25.09-py3",
        "inferenceConfig": {"scoringRoute": {"path": "/", "port": 8000}},
    }

    def served(deployment: Resource) -> Resource:
        own = {k: v for k, v in deployment.props["properties"].items() if k not in ("modelMountPath",)}
        own = {**own, "environmentId": "environment-9ca60fb", "environmentVariables": None}
        return replace(deployment, props={**deployment.props, "properties": own})

    environment = added(f"{ML}:EnvironmentVersion", "environment-9ca60fb", {"properties": image})
    return both(environment, each(DEPLOYMENT, served))(resources)


def of_the_group_alone(resources: list[Resource]) -> list[Resource]:
    """One budget, on the stack's own resource group."""
    group = str(of_type(resources, AKS).id).partition("/providers/")[0]
    return both(without(BUDGET), added(BUDGET, "monthly", {"scope": group}))(resources)


def in_a_region_without_zones(type_: str, name: str = "") -> Fault:
    return each(type_, lambda one: replace(one, props={**one.props, "location": "westus"}), name)


CASES = (
    Case("Azure B1", "flow-packages", "-models", blob),
    Case("Azure B2", "flow-azure-ml", "-azureml-workspace", NEVER_PROVISIONED),
    Case(
        "Azure B3",
        "azure-ml-egress-flag",
        "-azureml-deployment-blue",
        changed(DEPLOYMENT, "properties.egressPublicNetworkAccess", "Disabled"),
    ),
    Case("Azure B4", "flow-azure-ml", "-azureml-workspace", NO_WAY_TO_THE_STORE),
    Case("Azure B5", "flow-azure-ml", "-azureml-vault", half_of_the_roles),
    Case("Azure B6", "azure-ml-batch-code", "p2", triton_batch),
    Case("Azure B7", "flow-azure-ml", "azure-vpn-peer", no_way_to_azure),
    Case("Azure B8", "flow-api-server", "-cluster", NOBODY_INSIDE, "dev"),
    Case("Azure B9", "flow-clients", "-nsg", PUBLIC_BEHIND_OWN_RULES, "dev"),
    Case("Azure M1", "azure-ml-delete-with-traffic", "-azureml-deployment-blue", option(DEPLOYMENT, deleted_with="")),
    Case(
        "Azure M1",
        "azure-ml-type-create-only",
        "-azureml-deployment-blue",
        changed(DEPLOYMENT, "deploymentName", "blue"),
    ),
    Case(
        "Azure M2",
        "azure-name-taken",
        "-azureml-workspace",
        changed(WORKSPACE, "workspaceName", "spillway-prod-azureml"),
    ),
    Case(
        "Azure M2",
        "azure-name-taken",
        "-azureml-vault",
        changed("azure-native:keyvault:Vault", "vaultName", "spillwayprodkv7813afdae6"),
    ),
    Case("Azure M4", "azure-ml-endpoint-keeps-split", "-azureml-endpoint", split_elsewhere),
    Case("Azure M6", "flow-apis", "-cost-signal-identity", without(ASSIGNMENT, "-role-cost-signal-endpoint")),
    Case("Azure M6", "flow-apis", "-cut-off-identity", without(ASSIGNMENT, "-role-cut-off-blue")),
    Case("Azure M7", "gateway-follows-capacity", "-gateway-deployment", routed("azure_ml", fixed)),
    Case("Azure M8", "cost-signal-counts", "batch-9ca60fb", batch_of_nobody),
    Case("Azure M8", "flow-azure-ml", "-azureml-workspace", both(triton_batch, NO_WAY_TO_THE_STORE)),
    Case("Azure M9", "azure-ml-traffic-deployments", "green-endpoint", green),
    Case(
        "Azure M10",
        "name-of-all-customers",
        "-azureml-endpoint",
        changed(ENDPOINT, "endpointName", "spillway-prod-burst"),
    ),
    Case("Azure M11", "azure-pods-own-identity", "package-sync", pods_are_the_workspace),
    Case("Azure M13", "flow-api-server", "-cluster", changed(AKS, "aadProfile.adminGroupObjectIDs", None), "dev"),
    Case(
        "Azure M14",
        "aks-outbound-type",
        "-cluster",
        changed(AKS, "networkProfile.outboundType", "userDefinedRouting"),
        "dev",
    ),
    Case("Azure M14", "aks-outbound-type", "-cluster", changed(AKS, "networkProfile.outboundType", "none"), "dev"),
    Case("Azure M16", "azure-ml-container-model", "-azureml-deployment-blue", stock_image),
    Case("Azure M16", "azure-ml-image-reachable", "environment-9ca60fb", stock_image),
    Case(
        "Azure M17",
        "azure-zones-of-the-location",
        "vpn-address",
        added("azure-native:network:PublicIPAddress", "vpn-address", {"location": "westus", "zones": ["1", "2", "3"]}),
    ),
    Case("Azure M17", "azure-zrs-of-the-location", "-models", in_a_region_without_zones(ACCOUNT)),
    Case("Azure m7", "flow-azure-ml", "-azureml-endpoint", changed(ENDPOINT, "properties.authMode", "Key")),
    Case("Azure m7", "flow-azure-ml", "-gateway-identity", without(ASSIGNMENT, "-role-gateway-endpoint")),
    *(
        Case("Azure m7", "flow-azure-ml", accused, without(CREDENTIAL, f"-gateway-{gone}-trust"), stack)
        for gone, accused, stack in (
            ("private", "-gateway-standby-trust", "prod"),
            ("standby", "-gateway-private-trust", "prod"),
            ("private", "-gateway-standby-trust", "dev"),
        )
    ),
    Case("Azure M18", "azure-budget-of-nodes", "-cluster", of_the_group_alone, "dev"),
)
