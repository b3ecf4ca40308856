"""Inputs of one resource of each type, in the order in which they can be created."""

from __future__ import annotations

from typing import Any

from spillway.twin.azure.manager import SUBSCRIPTION_ID, TENANT_ID

GROUP = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/rg"
PLACE = {"resourceGroupName": "rg", "location": "westeurope"}
IN_GROUP = {"resourceGroupName": "rg"}


def at(path: str) -> str:
    return f"{GROUP}/providers/{path}"


ML = {"resourceGroupName": "rg", "workspaceName": "ml-ws"}
NET = "Microsoft.Network"
SUBNET = at(f"{NET}/virtualNetworks/vnet/subnets/gpu")
ENDPOINT = at("Microsoft.MachineLearningServices/workspaces/ml-ws/onlineEndpoints/spill")
ACCOUNT = at("Microsoft.Storage/storageAccounts/spillstore")
IDENTITY = at("Microsoft.ManagedIdentity/userAssignedIdentities/agent")
LOGS = at("Microsoft.OperationalInsights/workspaces/logs")
INSIGHTS = at("Microsoft.Insights/components/insights")
VAULT = at("Microsoft.KeyVault/vaults/spill-vault")
CLUSTER = at("Microsoft.ContainerService/managedClusters/aks")
TOPIC = at("Microsoft.Insights/actionGroups/oncall")
ROLES = f"/subscriptions/{SUBSCRIPTION_ID}/providers/Microsoft.Authorization/roleDefinitions"
ROLE = f"{ROLES}/ba92f5b4-2d11-453d-a403-e96b0029c9fe"
PRINCIPAL = "33333333-3333-3333-3333-333333333333"
BUDGET = {
    "scope": GROUP,
    "budgetName": "monthly",
    "amount": 1000.0,
    "category": "Cost",
    "timeGrain": "Monthly",
    "timePeriod": {"startDate": "2026-01-01T00:00:00Z"},
}
MODEL = {"description": "MiniLM"}

SAMPLES: dict[str, dict[str, Any]] = {
    "resources:ResourceGroup": {**PLACE, "tags": {"owner": "platform"}},
    "operationalinsights:Workspace": {
        **PLACE,
        "workspaceName": "logs",
        "sku": {"name": "PerGB2018"},
        "retentionInDays": 30,
    },
    "applicationinsights:Component": {
        **PLACE,
        "resourceName": "insights",
        "kind": "web",
        "applicationType": "web",
        "workspaceResourceId": LOGS,
        "ingestionMode": "LogAnalytics",
    },
    "managedidentity:UserAssignedIdentity": {**PLACE, "resourceName": "agent"},
    "managedidentity:FederatedIdentityCredential": {
        **IN_GROUP,
        "resourceName": "agent",
        "federatedIdentityCredentialResourceName": "aks",
        "issuer": "https://issuer.example/",
        "subject": "system:serviceaccount:spillway-gateway:agent",
        "audiences": ["api://AzureADTokenExchange"],
    },
    "network:NetworkSecurityGroup": {
        **PLACE,
        "networkSecurityGroupName": "nsg",
        "securityRules": [
            {
                "name": "deny",
                "access": "Deny",
                "direction": "Inbound",
                "priority": 4000,
                "protocol": "*",
                "sourceAddressPrefix": "*",
                "sourcePortRange": "*",
                "destinationAddressPrefix": "*",
                "destinationPortRange": "*",
            }
        ],
    },
    "network:SecurityRule": {
        **IN_GROUP,
        "networkSecurityGroupName": "nsg",
        "securityRuleName": "https",
        "access": "Allow",
        "direction": "Inbound",
        "priority": 100,
        "protocol": "Tcp",
        "sourceAddressPrefix": "VirtualNetwork",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "443",
    },
    "network:RouteTable": {
        **PLACE,
        "routeTableName": "routes",
        "routes": [{"name": "out", "addressPrefix": "0.0.0.0/0", "nextHopType": "Internet"}],
    },
    "network:PublicIPAddress": {
        **PLACE,
        "publicIpAddressName": "pip",
        "sku": {"name": "Standard"},
        "publicIPAllocationMethod": "Static",
    },
    "network:NatGateway": {
        **PLACE,
        "natGatewayName": "nat",
        "sku": {"name": "Standard"},
        "publicIpAddresses": [{"id": at(f"{NET}/publicIPAddresses/pip")}],
    },
    "network:VirtualNetwork": {
        **PLACE,
        "virtualNetworkName": "vnet",
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
        "subnets": [{"name": "GatewaySubnet", "addressPrefix": "10.1.255.0/27"}],
    },
    "network:Subnet": {
        **IN_GROUP,
        "virtualNetworkName": "vnet",
        "subnetName": "gpu",
        "addressPrefix": "10.1.0.0/24",
        "networkSecurityGroup": {"id": at(f"{NET}/networkSecurityGroups/nsg")},
        "natGateway": {"id": at(f"{NET}/natGateways/nat")},
        "privateEndpointNetworkPolicies": "Disabled",
    },
    "network:VirtualNetworkPeering": {
        **IN_GROUP,
        "virtualNetworkName": "vnet",
        "virtualNetworkPeeringName": "hub",
        "remoteVirtualNetwork": {"id": at(f"{NET}/virtualNetworks/vnet")},
        "allowVirtualNetworkAccess": True,
    },
    "network:VirtualNetworkGateway": {
        **PLACE,
        "virtualNetworkGatewayName": "vpn",
        "gatewayType": "Vpn",
        "vpnType": "RouteBased",
        "sku": {"name": "VpnGw1AZ", "tier": "VpnGw1AZ"},
        "ipConfigurations": [
            {
                "name": "default",
                "privateIPAllocationMethod": "Dynamic",
                "subnet": {"id": at(f"{NET}/virtualNetworks/vnet/subnets/GatewaySubnet")},
                "publicIPAddress": {"id": at(f"{NET}/publicIPAddresses/pip")},
            }
        ],
    },
    "network:LocalNetworkGateway": {
        **PLACE,
        "localNetworkGatewayName": "onprem",
        "gatewayIpAddress": "203.0.113.9",
        "localNetworkAddressSpace": {"addressPrefixes": ["10.9.0.0/16"]},
    },
    "network:VirtualNetworkGatewayConnection": {
        **PLACE,
        "virtualNetworkGatewayConnectionName": "link",
        "connectionType": "IPsec",
        "sharedKey": "not-a-real-key",
        "virtualNetworkGateway1": {"id": at(f"{NET}/virtualNetworkGateways/vpn")},
        "localNetworkGateway2": {"id": at(f"{NET}/localNetworkGateways/onprem")},
    },
    "storage:StorageAccount": {
        **PLACE,
        "accountName": "spillstore",
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "enableHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
        "networkRuleSet": {"defaultAction": "Deny"},
    },
    "storage:BlobServiceProperties": {
        **IN_GROUP,
        "accountName": "spillstore",
        "blobServicesName": "default",
        "isVersioningEnabled": True,
        "deleteRetentionPolicy": {"enabled": True, "days": 14},
    },
    "storage:BlobContainer": {
        **IN_GROUP,
        "accountName": "spillstore",
        "containerName": "packages",
        "publicAccess": "None",
    },
    "storage:FileShare": {**IN_GROUP, "accountName": "spillstore", "shareName": "models", "shareQuota": 10},
    "storage:ManagementPolicy": {
        **IN_GROUP,
        "accountName": "spillstore",
        "managementPolicyName": "default",
        "policy": {
            "rules": [
                {
                    "enabled": True,
                    "name": "old",
                    "type": "Lifecycle",
                    "definition": {
                        "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": 90.0}}},
                        "filters": {"blobTypes": ["blockBlob"]},
                    },
                }
            ]
        },
    },
    "keyvault:Vault": {
        **PLACE,
        "vaultName": "spill-vault",
        "properties": {
            "tenantId": TENANT_ID,
            "sku": {"family": "A", "name": "standard"},
            "enableRbacAuthorization": True,
        },
    },
    "keyvault:Secret": {
        **IN_GROUP,
        "vaultName": "spill-vault",
        "secretName": "key",
        "properties": {"value": "hunter2"},
    },
    "keyvault:Key": {
        **IN_GROUP,
        "vaultName": "spill-vault",
        "keyName": "disk",
        "properties": {"kty": "RSA", "keySize": 2048},
    },
    "containerregistry:Registry": {
        **PLACE,
        "registryName": "spillregistry",
        "sku": {"name": "Premium"},
        "adminUserEnabled": False,
        "publicNetworkAccess": "Disabled",
    },
    "machinelearningservices:Workspace": {
        **ML,
        "location": "westeurope",
        "identity": {"type": "SystemAssigned"},
        "sku": {"name": "Basic", "tier": "Basic"},
        "storageAccount": ACCOUNT,
        "keyVault": VAULT,
        "applicationInsights": INSIGHTS,
        "publicNetworkAccess": "Disabled",
        "managedNetwork": {"isolationMode": "AllowOnlyApprovedOutbound"},
    },
    "machinelearningservices:ModelContainer": {**ML, "name": "minilm", "properties": MODEL},
    "machinelearningservices:ModelVersion": {
        **ML,
        "name": "minilm",
        "version": "1",
        "properties": {"modelUri": "azureml://x", "modelType": "triton_model"},
    },
    "machinelearningservices:EnvironmentContainer": {**ML, "name": "triton", "properties": MODEL},
    "machinelearningservices:EnvironmentVersion": {
        **ML,
        "name": "triton",
        "version": "1",
        "properties": {"image": "nvcr.io/nvidia/tritonserver:24.10-py3"},
    },
    "machinelearningservices:Compute": {
        **ML,
        "computeName": "batch",
        "location": "westeurope",
        "properties": {
            "computeType": "AmlCompute",
            "properties": {"vmSize": "Standard_NC4as_T4_v3", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}},
        },
    },
    "machinelearningservices:Datastore": {
        **ML,
        "name": "packages",
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": "spillstore",
            "containerName": "packages",
            "credentials": {"credentialsType": "None"},
        },
    },
    "machinelearningservices:WorkspaceConnection": {
        **ML,
        "connectionName": "registry",
        "properties": {
            "authType": "ManagedIdentity",
            "category": "ContainerRegistry",
            "target": "spillregistry.azurecr.io",
        },
    },
    "machinelearningservices:ManagedNetworkSettingsRule": {
        **ML,
        "ruleName": "registry",
        "properties": {"type": "FQDN", "destination": "nvcr.io", "category": "UserDefined"},
    },
    "machinelearningservices:Registry": {
        **PLACE,
        "registryName": "models",
        "publicNetworkAccess": "Disabled",
        "identity": {"type": "SystemAssigned"},
    },
    "machinelearningservices:OnlineEndpoint": {
        **ML,
        "endpointName": "spill",
        "location": "westeurope",
        "kind": "Managed",
        "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
        "properties": {"authMode": "Key", "publicNetworkAccess": "Disabled"},
    },
    "machinelearningservices:OnlineDeployment": {
        **ML,
        "endpointName": "spill",
        "deploymentName": "blue",
        "location": "westeurope",
        "kind": "Managed",
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "endpointComputeType": "Managed",
            "instanceType": "Standard_NC4as_T4_v3",
            "requestSettings": {"maxConcurrentRequestsPerInstance": 8, "requestTimeout": "PT5S"},
            "scaleSettings": {"scaleType": "Default"},
        },
    },
    "machinelearningservices:BatchEndpoint": {
        **ML,
        "endpointName": "spill-batch",
        "location": "westeurope",
        "identity": {"type": "SystemAssigned"},
        "properties": {"authMode": "AADToken"},
    },
    "machinelearningservices:BatchDeployment": {
        **ML,
        "endpointName": "spill-batch",
        "deploymentName": "blue",
        "location": "westeurope",
        "properties": {"compute": at("Microsoft.MachineLearningServices/workspaces/ml-ws/computes/batch")},
    },
    "containerservice:ManagedCluster": {
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
    },
    "containerservice:AgentPool": {
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
    },
    "containerservice:MaintenanceConfiguration": {
        **IN_GROUP,
        "resourceName": "aks",
        "configName": "default",
        "timeInWeek": [{"day": "Sunday", "hourSlots": [2]}],
    },
    "privatedns:PrivateZone": {**IN_GROUP, "privateZoneName": "privatelink.api.azureml.ms", "location": "global"},
    "privatedns:VirtualNetworkLink": {
        **IN_GROUP,
        "privateZoneName": "privatelink.api.azureml.ms",
        "virtualNetworkLinkName": "vnet",
        "location": "global",
        "registrationEnabled": False,
        "virtualNetwork": {"id": at(f"{NET}/virtualNetworks/vnet")},
    },
    "privatedns:PrivateRecordSet": {
        **IN_GROUP,
        "privateZoneName": "privatelink.api.azureml.ms",
        "recordType": "A",
        "relativeRecordSetName": "x",
        "ttl": 60.0,
        "aRecords": [{"ipv4Address": "10.1.0.9"}],
    },
    "network:PrivateEndpoint": {
        **PLACE,
        "privateEndpointName": "ml",
        "subnet": {"id": SUBNET},
        "privateLinkServiceConnections": [
            {
                "name": "ml",
                "groupIds": ["amlworkspace"],
                "privateLinkServiceId": at("Microsoft.MachineLearningServices/workspaces/ml-ws"),
            }
        ],
    },
    "network:PrivateDnsZoneGroup": {
        **IN_GROUP,
        "privateEndpointName": "ml",
        "privateDnsZoneGroupName": "default",
        "privateDnsZoneConfigs": [
            {"name": "ml", "privateDnsZoneId": at(f"{NET}/privateDnsZones/privatelink.api.azureml.ms")}
        ],
    },
    "dns:Zone": {**IN_GROUP, "zoneName": "infer.example", "location": "global", "zoneType": "Public"},
    "dns:RecordSet": {
        **IN_GROUP,
        "zoneName": "infer.example",
        "recordType": "CNAME",
        "relativeRecordSetName": "api",
        "ttl": 60.0,
        "cnameRecord": {"cname": "spill.trafficmanager.net"},
    },
    "trafficmanager:Profile": {
        **IN_GROUP,
        "profileName": "spill",
        "location": "global",
        "trafficRoutingMethod": "Priority",
        "dnsConfig": {"relativeName": "spill", "ttl": 30.0},
        "monitorConfig": {"protocol": "HTTPS", "port": 443.0, "path": "/healthz"},
    },
    "trafficmanager:Endpoint": {
        **IN_GROUP,
        "profileName": "spill",
        "endpointType": "ExternalEndpoints",
        "endpointName": "private",
        "target": "gw.example",
        "priority": 1.0,
        "endpointStatus": "Enabled",
    },
    "monitor:ActionGroup": {
        **IN_GROUP,
        "actionGroupName": "oncall",
        "location": "global",
        "groupShortName": "oncall",
        "enabled": True,
        "emailReceivers": [{"name": "team", "emailAddress": "team@example.com"}],
    },
    "monitor:AutoscaleSetting": {
        **PLACE,
        "autoscaleSettingName": "spill",
        "targetResourceUri": f"{ENDPOINT}/deployments/blue",
        "enabled": True,
        "profiles": [
            {
                "name": "default",
                "capacity": {"minimum": "1", "maximum": "4", "default": "1"},
                "rules": [
                    {
                        "metricTrigger": {
                            "metricName": "CpuUtilizationPercentage",
                            "metricResourceUri": f"{ENDPOINT}/deployments/blue",
                            "timeGrain": "PT1M",
                            "statistic": "Average",
                            "timeWindow": "PT5M",
                            "timeAggregation": "Average",
                            "operator": "GreaterThan",
                            "threshold": 70.0,
                        },
                        "scaleAction": {
                            "direction": "Increase",
                            "type": "ChangeCount",
                            "value": "1",
                            "cooldown": "PT5M",
                        },
                    }
                ],
            }
        ],
    },
    "monitor:DiagnosticSetting": {
        "resourceUri": ENDPOINT,
        "name": "logs",
        "workspaceId": LOGS,
        "metrics": [{"category": "AllMetrics", "enabled": True}],
    },
    "monitor:MetricAlert": {
        **IN_GROUP,
        "ruleName": "latency",
        "location": "global",
        "enabled": True,
        "severity": 2,
        "scopes": [ENDPOINT],
        "evaluationFrequency": "PT1M",
        "windowSize": "PT5M",
        "actions": [{"actionGroupId": TOPIC}],
        "criteria": {
            "odataType": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
            "allOf": [
                {
                    "criterionType": "StaticThresholdCriterion",
                    "name": "p99",
                    "metricName": "RequestLatency_P99",
                    "operator": "GreaterThan",
                    "threshold": 5000.0,
                    "timeAggregation": "Average",
                }
            ],
        },
    },
    "monitor:ScheduledQueryRule": {
        **PLACE,
        "ruleName": "heartbeat",
        "kind": "LogAlert",
        "severity": 1,
        "enabled": True,
        "scopes": [LOGS],
        "evaluationFrequency": "PT1M",
        "windowSize": "PT5M",
        "criteria": {
            "allOf": [{"query": "Heartbeat", "timeAggregation": "Count", "operator": "LessThan", "threshold": 1.0}]
        },
    },
    "authorization:RoleAssignment": {
        "scope": ACCOUNT,
        "principalId": PRINCIPAL,
        "principalType": "ServicePrincipal",
        "roleDefinitionId": ROLE,
    },
    "authorization:RoleDefinition": {
        "scope": GROUP,
        "roleName": "flipper",
        "description": "flips endpoints",
        "roleType": "CustomRole",
        "assignableScopes": [GROUP],
        "permissions": [{"actions": ["Microsoft.Network/trafficManagerProfiles/*/write"]}],
    },
    "consumption:Budget": BUDGET,
    "costmanagement:Budget": BUDGET,
    "web:AppServicePlan": {
        **PLACE,
        "name": "plan",
        "kind": "functionapp",
        "sku": {"name": "Y1", "tier": "Dynamic"},
        "reserved": True,
    },
    "web:WebApp": {
        **PLACE,
        "name": "flipper",
        "kind": "functionapp,linux",
        "serverFarmId": at("Microsoft.Web/serverfarms/plan"),
        "httpsOnly": True,
        "siteConfig": {"linuxFxVersion": "Python|3.11", "appSettings": [{"name": "A", "value": "b"}]},
    },
    "portal:Dashboard": {
        **PLACE,
        "dashboardName": "spill",
        "properties": {
            "lenses": [
                {
                    "order": 0,
                    "parts": [
                        {
                            "position": {"x": 0, "y": 0, "colSpan": 6, "rowSpan": 4},
                            "metadata": {"type": "Extension/HubsExtension/PartType/MonitorChartPart"},
                        }
                    ],
                }
            ],
            "metadata": {},
        },
    },
    "redis:Redis": {
        **PLACE,
        "name": "cache",
        "sku": {"name": "Basic", "family": "C", "capacity": 0},
        "minimumTlsVersion": "1.2",
    },
    "redisenterprise:RedisEnterprise": {
        **PLACE,
        "clusterName": "cachex",
        "sku": {"name": "Balanced_B0"},
        "publicNetworkAccess": "Disabled",
    },
    "redisenterprise:Database": {
        **IN_GROUP,
        "clusterName": "cachex",
        "databaseName": "default",
        "clientProtocol": "Encrypted",
    },
    "eventgrid:SystemTopic": {
        **PLACE,
        "systemTopicName": "events",
        "source": ACCOUNT,
        "topicType": "Microsoft.Storage.StorageAccounts",
    },
    "resources:Deployment": {
        **IN_GROUP,
        "deploymentName": "traffic",
        "properties": {
            "mode": "Incremental",
            "template": {
                "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "resources": [
                    {
                        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
                        "apiVersion": "2024-10-01",
                        "name": "ml-ws/spill",
                        "location": "westeurope",
                        "kind": "Managed",
                        "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
                        "properties": {"authMode": "Key", "publicNetworkAccess": "Disabled", "traffic": {"blue": 100}},
                    }
                ],
            },
        },
    },
}
