"""One row per Azure resource type: where it lives in Resource Manager, and which model its body must fit.

A row's path holds the Pulumi input names in braces. API versions and argument names come from ``catalogue.json``, which
``generate.py`` makes from the installed SDKs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SUBSCRIPTION: Final = "/subscriptions/{subscriptionId}"
GROUP: Final = SUBSCRIPTION + "/resourceGroups/{resourceGroupName}"


@dataclass(frozen=True)
class Row:
    """``type``: Pulumi's ``module:Type``. ``model``: ``package.Class`` of an ``azure-mgmt-*`` package; ``None`` means
    that the body is not checked. ``renames``: input -> wire name, where they differ by more than case. ``create_only``:
    inputs that force a new resource, besides those in the path. ``computed``: what the service adds to ``properties``;
    ``{name}``-style parts are filled in. ``identity``: whether it may have a managed identity. ``write_only``:
    properties that the service never gives back. ``note``: for the docs.
    """

    type: str
    path: str
    model: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    create_only: frozenset[str] = frozenset()
    computed: Mapping[str, Any] = field(default_factory=dict)
    identity: bool = False
    write_only: frozenset[str] = frozenset()
    note: str = ""

    @property
    def token(self) -> str:
        return f"azure-native:{self.type}"

    @property
    def path_inputs(self) -> tuple[str, ...]:
        """The inputs that are part of the path."""
        return tuple(name for name in re.findall(r"{(\w+)}", self.path) if name != "subscriptionId")

    @property
    def name_input(self) -> str:
        """The input that holds the resource's own name."""
        return self.path.rsplit("/", 1)[1].strip("{}")


def _in_group(type_: str, path: str, model: str | None = None, **more: Any) -> Row:
    return Row(type_, f"{GROUP}/providers/{path}", model, **more)


_ML: Final = "Microsoft.MachineLearningServices/workspaces/{workspaceName}"
_NET: Final = "Microsoft.Network"
_STORE: Final = "Microsoft.Storage/storageAccounts/{accountName}"
_HOST: Final = "{name}.{location}"
_PLACE: Final = frozenset({"location"})

ROWS: Final[tuple[Row, ...]] = (
    Row("resources:ResourceGroup", GROUP, "resource.resources.ResourceGroup", create_only=_PLACE),
    _in_group(
        "resources:Deployment",
        "Microsoft.Resources/deployments/{deploymentName}",
        note="the template's resources are created; expressions in templates are refused",
    ),
    _in_group(
        "machinelearningservices:Workspace",
        _ML,
        "machinelearningservices.Workspace",
        create_only=_PLACE | {"storageAccount", "keyVault", "applicationInsights", "hbiWorkspace"},
        computed={
            "workspaceId": "{uuid}",
            "mlFlowTrackingUri": "azureml://{location}.api.azureml.ms/mlflow/v1.0{id}",
            "discoveryUrl": "https://{location}.api.azureml.ms/discovery",
        },
        identity=True,
    ),
    _in_group(
        "machinelearningservices:OnlineEndpoint",
        f"{_ML}/onlineEndpoints/{{endpointName}}",
        "machinelearningservices.OnlineEndpoint",
        create_only=_PLACE,
        computed={
            "scoringUri": f"https://{_HOST}.inference.ml.azure.com/score",
            "swaggerUri": f"https://{_HOST}.inference.ml.azure.com/swagger.json",
        },
        identity=True,
        note="scoring runs in the twin's own model server",
    ),
    _in_group(
        "machinelearningservices:OnlineDeployment",
        f"{_ML}/onlineEndpoints/{{endpointName}}/deployments/{{deploymentName}}",
        "machinelearningservices.OnlineDeployment",
        create_only=_PLACE,
        identity=True,
    ),
    _in_group(
        "machinelearningservices:BatchEndpoint",
        f"{_ML}/batchEndpoints/{{endpointName}}",
        "machinelearningservices.BatchEndpoint",
        create_only=_PLACE,
        computed={"scoringUri": f"https://{_HOST}.inference.ml.azure.com/jobs"},
        identity=True,
    ),
    _in_group(
        "machinelearningservices:BatchDeployment",
        f"{_ML}/batchEndpoints/{{endpointName}}/deployments/{{deploymentName}}",
        "machinelearningservices.BatchDeployment",
        create_only=_PLACE,
        identity=True,
    ),
    _in_group(
        "machinelearningservices:ModelContainer", f"{_ML}/models/{{name}}", "machinelearningservices.ModelContainer"
    ),
    _in_group(
        "machinelearningservices:ModelVersion",
        f"{_ML}/models/{{name}}/versions/{{version}}",
        "machinelearningservices.ModelVersion",
    ),
    _in_group(
        "machinelearningservices:EnvironmentContainer",
        f"{_ML}/environments/{{name}}",
        "machinelearningservices.EnvironmentContainer",
    ),
    _in_group(
        "machinelearningservices:EnvironmentVersion",
        f"{_ML}/environments/{{name}}/versions/{{version}}",
        "machinelearningservices.EnvironmentVersion",
    ),
    _in_group(
        "machinelearningservices:Compute",
        f"{_ML}/computes/{{computeName}}",
        "machinelearningservices.ComputeResource",
        create_only=_PLACE,
        identity=True,
    ),
    _in_group("machinelearningservices:Datastore", f"{_ML}/datastores/{{name}}", "machinelearningservices.Datastore"),
    _in_group("machinelearningservices:WorkspaceConnection", f"{_ML}/connections/{{connectionName}}", None),
    _in_group("machinelearningservices:ManagedNetworkSettingsRule", f"{_ML}/outboundRules/{{ruleName}}", None),
    _in_group(
        "machinelearningservices:Registry",
        "Microsoft.MachineLearningServices/registries/{registryName}",
        "machinelearningservices.Registry",
        create_only=_PLACE,
        identity=True,
    ),
    _in_group(
        "containerservice:ManagedCluster",
        "Microsoft.ContainerService/managedClusters/{resourceName}",
        "containerservice.ManagedCluster",
        create_only=_PLACE | {"dnsPrefix", "nodeResourceGroup"},
        identity=True,
        computed={
            "fqdn": "{name}.hcp.{location}.azmk8s.io",
            "privateFQDN": "{name}.privatelink.{location}.azmk8s.io",
            "oidcIssuerProfile": {"issuerURL": "https://{location}.oic.prod-aks.azure.com/{uuid}/"},
            "currentKubernetesVersion": "1.34.0",
            "identityProfile": {"kubeletidentity": {"clientId": "{uuid}", "objectId": "{uuid}"}},
            "maxAgentPools": 100,
        },
    ),
    _in_group(
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
    ),
    _in_group(
        "containerservice:MaintenanceConfiguration",
        "Microsoft.ContainerService/managedClusters/{resourceName}/maintenanceConfigurations/{configName}",
        "containerservice.MaintenanceConfiguration",
    ),
    _in_group(
        "network:VirtualNetwork",
        f"{_NET}/virtualNetworks/{{virtualNetworkName}}",
        "network.VirtualNetwork",
        create_only=_PLACE,
    ),
    _in_group(
        "network:Subnet", f"{_NET}/virtualNetworks/{{virtualNetworkName}}/subnets/{{subnetName}}", "network.Subnet"
    ),
    _in_group(
        "network:NetworkSecurityGroup",
        f"{_NET}/networkSecurityGroups/{{networkSecurityGroupName}}",
        "network.NetworkSecurityGroup",
        create_only=_PLACE,
    ),
    _in_group(
        "network:SecurityRule",
        f"{_NET}/networkSecurityGroups/{{networkSecurityGroupName}}/securityRules/{{securityRuleName}}",
        "network.SecurityRule",
    ),
    _in_group(
        "network:PrivateEndpoint",
        f"{_NET}/privateEndpoints/{{privateEndpointName}}",
        "network.PrivateEndpoint",
        create_only=_PLACE | {"subnet"},
        computed={
            "customDnsConfigs": [],
            "networkInterfaces": [{"id": "{group}/providers/Microsoft.Network/networkInterfaces/{name}.nic"}],
        },
    ),
    _in_group(
        "network:PrivateDnsZoneGroup",
        f"{_NET}/privateEndpoints/{{privateEndpointName}}/privateDnsZoneGroups/{{privateDnsZoneGroupName}}",
        "network.PrivateDnsZoneGroup",
    ),
    _in_group("network:NatGateway", f"{_NET}/natGateways/{{natGatewayName}}", "network.NatGateway", create_only=_PLACE),
    _in_group(
        "network:PublicIPAddress",
        f"{_NET}/publicIPAddresses/{{publicIpAddressName}}",
        "network.PublicIPAddress",
        create_only=_PLACE,
        computed={"ipAddress": "198.51.100.{octet}"},
    ),
    _in_group(
        "network:VirtualNetworkGateway",
        f"{_NET}/virtualNetworkGateways/{{virtualNetworkGatewayName}}",
        "network.VirtualNetworkGateway",
        create_only=_PLACE | {"gatewayType", "vpnType"},
    ),
    _in_group(
        "network:LocalNetworkGateway",
        f"{_NET}/localNetworkGateways/{{localNetworkGatewayName}}",
        "network.LocalNetworkGateway",
        create_only=_PLACE,
    ),
    _in_group(
        "network:VirtualNetworkGatewayConnection",
        f"{_NET}/connections/{{virtualNetworkGatewayConnectionName}}",
        "network.VirtualNetworkGatewayConnection",
        create_only=_PLACE | {"virtualNetworkGateway1", "localNetworkGateway2", "connectionType"},
        computed={"connectionStatus": "Connected"},
    ),
    _in_group("network:RouteTable", f"{_NET}/routeTables/{{routeTableName}}", "network.RouteTable", create_only=_PLACE),
    _in_group(
        "network:VirtualNetworkPeering",
        f"{_NET}/virtualNetworks/{{virtualNetworkName}}/virtualNetworkPeerings/{{virtualNetworkPeeringName}}",
        "network.VirtualNetworkPeering",
    ),
    _in_group(
        "privatedns:PrivateZone",
        f"{_NET}/privateDnsZones/{{privateZoneName}}",
        "privatedns.PrivateZone",
        create_only=_PLACE,
    ),
    _in_group(
        "privatedns:VirtualNetworkLink",
        f"{_NET}/privateDnsZones/{{privateZoneName}}/virtualNetworkLinks/{{virtualNetworkLinkName}}",
        "privatedns.VirtualNetworkLink",
        create_only=_PLACE | {"virtualNetwork"},
    ),
    _in_group(
        "privatedns:PrivateRecordSet",
        f"{_NET}/privateDnsZones/{{privateZoneName}}/{{recordType}}/{{relativeRecordSetName}}",
        "privatedns.RecordSet",
    ),
    _in_group(
        "dns:Zone",
        f"{_NET}/dnsZones/{{zoneName}}",
        "dns.Zone",
        create_only=_PLACE,
        computed={"nameServers": ["ns1-01.azure-dns.com.", "ns2-01.azure-dns.net."]},
    ),
    _in_group(
        "dns:RecordSet", f"{_NET}/dnsZones/{{zoneName}}/{{recordType}}/{{relativeRecordSetName}}", "dns.RecordSet"
    ),
    _in_group(
        "trafficmanager:Profile",
        f"{_NET}/trafficmanagerprofiles/{{profileName}}",
        "trafficmanager.Profile",
        create_only=_PLACE,
    ),
    _in_group(
        "trafficmanager:Endpoint",
        f"{_NET}/trafficmanagerprofiles/{{profileName}}/{{endpointType}}/{{endpointName}}",
        "trafficmanager.Endpoint",
        computed={"endpointMonitorStatus": "Online"},
    ),
    _in_group(
        "storage:StorageAccount",
        _STORE,
        "storage.StorageAccountCreateParameters",
        create_only=_PLACE | {"isHnsEnabled"},
        identity=True,
        renames={
            "enableHttpsTrafficOnly": "supportsHttpsTrafficOnly",
            "enableNfsV3": "isNfsV3Enabled",
            "networkRuleSet": "networkAcls",
        },
        computed={
            "primaryEndpoints": {
                s: f"https://{{name}}.{s}.core.windows.net/" for s in ("blob", "file", "queue", "table", "dfs")
            },
            "primaryLocation": "{location}",
            "statusOfPrimary": "available",
        },
    ),
    _in_group(
        "storage:BlobContainer", f"{_STORE}/blobServices/default/containers/{{containerName}}", "storage.BlobContainer"
    ),
    _in_group(
        "storage:BlobServiceProperties", f"{_STORE}/blobServices/{{blobServicesName}}", "storage.BlobServiceProperties"
    ),
    _in_group(
        "storage:ManagementPolicy", f"{_STORE}/managementPolicies/{{managementPolicyName}}", "storage.ManagementPolicy"
    ),
    _in_group("storage:FileShare", f"{_STORE}/fileServices/default/shares/{{shareName}}", "storage.FileShare"),
    _in_group(
        "keyvault:Vault",
        "Microsoft.KeyVault/vaults/{vaultName}",
        "keyvault.VaultCreateOrUpdateParameters",
        create_only=_PLACE,
        computed={"vaultUri": "https://{name}.vault.azure.net/"},
    ),
    _in_group(
        "keyvault:Secret",
        "Microsoft.KeyVault/vaults/{vaultName}/secrets/{secretName}",
        "keyvault.SecretCreateOrUpdateParameters",
        computed={"secretUri": "https://{parent}.vault.azure.net/secrets/{name}"},
        write_only=frozenset({"value"}),
    ),
    _in_group(
        "keyvault:Key",
        "Microsoft.KeyVault/vaults/{vaultName}/keys/{keyName}",
        "keyvault.KeyCreateParameters",
        create_only=frozenset({"properties"}),
        computed={
            "keyUri": "https://{parent}.vault.azure.net/keys/{name}",
            "keyUriWithVersion": "https://{parent}.vault.azure.net/keys/{name}/{uuid}",
        },
    ),
    _in_group(
        "containerregistry:Registry",
        "Microsoft.ContainerRegistry/registries/{registryName}",
        "containerregistry.Registry",
        create_only=_PLACE,
        computed={"loginServer": "{name}.azurecr.io"},
        identity=True,
    ),
    _in_group(
        "applicationinsights:Component",
        "Microsoft.Insights/components/{resourceName}",
        "applicationinsights.v2020_02_02.ApplicationInsightsComponent",
        create_only=_PLACE,
        computed={
            "InstrumentationKey": "{uuid}",
            "ConnectionString": "InstrumentationKey={uuid};IngestionEndpoint=https://{location}.in.applicationinsights.azure.com/",
            "AppId": "{uuid}",
            "ApplicationId": "{name}",
        },
    ),
    _in_group(
        "operationalinsights:Workspace",
        "Microsoft.OperationalInsights/workspaces/{workspaceName}",
        "loganalytics.Workspace",
        create_only=_PLACE,
        computed={"customerId": "{uuid}"},
        identity=True,
    ),
    _in_group(
        "monitor:AutoscaleSetting",
        "Microsoft.Insights/autoscalesettings/{autoscaleSettingName}",
        "monitor.AutoscaleSettingResource",
        create_only=_PLACE,
    ),
    Row("monitor:DiagnosticSetting", "/{resourceUri}/providers/Microsoft.Insights/diagnosticSettings/{name}", None),
    _in_group(
        "monitor:MetricAlert",
        "Microsoft.Insights/metricAlerts/{ruleName}",
        "monitor.MetricAlertResource",
        create_only=_PLACE,
    ),
    _in_group(
        "monitor:ActionGroup",
        "Microsoft.Insights/actionGroups/{actionGroupName}",
        "monitor.ActionGroupResource",
        create_only=_PLACE,
    ),
    _in_group(
        "monitor:ScheduledQueryRule",
        "Microsoft.Insights/scheduledQueryRules/{ruleName}",
        "monitor.ScheduledQueryRuleResource",
        create_only=_PLACE,
        identity=True,
    ),
    _in_group(
        "managedidentity:UserAssignedIdentity",
        "Microsoft.ManagedIdentity/userAssignedIdentities/{resourceName}",
        "msi.v2024_11_30.Identity",
        create_only=_PLACE,
        computed={"principalId": "{uuid}", "clientId": "{uuid}", "tenantId": "{tenant}"},
    ),
    _in_group(
        "managedidentity:FederatedIdentityCredential",
        "Microsoft.ManagedIdentity/userAssignedIdentities/{resourceName}/federatedIdentityCredentials/{federatedIdentityCredentialResourceName}",
        "msi.v2024_11_30.FederatedIdentityCredential",
    ),
    Row(
        "authorization:RoleAssignment",
        "/{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}",
        "authorization.v2022_04_01.RoleAssignmentCreateParameters",
        computed={"scope": "{home}"},
        create_only=frozenset({"principalId", "roleDefinitionId", "principalType"}),
    ),
    Row(
        "authorization:RoleDefinition",
        "/{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionId}",
        "authorization.v2022_04_01.RoleDefinition",
        renames={"roleType": "type"},
    ),
    Row("consumption:Budget", "/{scope}/providers/Microsoft.Consumption/budgets/{budgetName}", "consumption.Budget"),
    Row(
        "costmanagement:Budget",
        "/{scope}/providers/Microsoft.CostManagement/budgets/{budgetName}",
        "costmanagement.Budget",
    ),
    _in_group("web:AppServicePlan", "Microsoft.Web/serverfarms/{name}", "web.AppServicePlan", create_only=_PLACE),
    _in_group(
        "web:WebApp",
        "Microsoft.Web/sites/{name}",
        "web.Site",
        create_only=_PLACE | {"kind"},
        computed={"defaultHostName": "{name}.azurewebsites.net", "state": "Running"},
        identity=True,
    ),
    _in_group(
        "portal:Dashboard", "Microsoft.Portal/dashboards/{dashboardName}", "portal.Dashboard", create_only=_PLACE
    ),
    _in_group(
        "redis:Redis",
        "Microsoft.Cache/redis/{name}",
        "redis.RedisCreateParameters",
        create_only=_PLACE,
        computed={"hostName": "{name}.redis.cache.windows.net", "sslPort": 6380},
        identity=True,
    ),
    _in_group(
        "redisenterprise:RedisEnterprise",
        "Microsoft.Cache/redisEnterprise/{clusterName}",
        "redisenterprise.Cluster",
        create_only=_PLACE,
        computed={"hostName": "{name}.{location}.redis.azure.net"},
        identity=True,
    ),
    _in_group(
        "redisenterprise:Database",
        "Microsoft.Cache/redisEnterprise/{clusterName}/databases/{databaseName}",
        "redisenterprise.Database",
    ),
    _in_group(
        "eventgrid:SystemTopic",
        "Microsoft.EventGrid/systemTopics/{systemTopicName}",
        "eventgrid.SystemTopic",
        create_only=_PLACE,
        identity=True,
    ),
)

BLOB: Final = "azure-native:storage:Blob"
"""Not a Resource Manager resource: its bytes go to the data plane."""

BY_TOKEN: Final = {row.token: row for row in ROWS}
