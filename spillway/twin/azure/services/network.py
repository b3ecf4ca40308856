"""Networks and what is in them, and the VPN to the private site."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, Inline, in_group
from spillway.twin.azure.sample import IN_GROUP, PLACE, SUBNET, Sample, at

ROWS: Final = (
    in_group(
        "network:VirtualNetwork",
        "Microsoft.Network/virtualNetworks/{virtualNetworkName}",
        "network.VirtualNetwork",
        create_only=LOCATION,
        inline=Inline("subnets", "subnets", "network:Subnet"),
        sample=Sample(
            {
                **PLACE,
                "virtualNetworkName": "vnet",
                "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
                "subnets": [{"name": "GatewaySubnet", "addressPrefix": "10.1.255.0/27"}],
            }
        ),
    ),
    in_group(
        "network:Subnet",
        "Microsoft.Network/virtualNetworks/{virtualNetworkName}/subnets/{subnetName}",
        "network.Subnet",
        kept_while_used=True,
        sample=Sample(
            {
                **IN_GROUP,
                "virtualNetworkName": "vnet",
                "subnetName": "gpu",
                "addressPrefix": "10.1.0.0/24",
                "networkSecurityGroup": {"id": at("Microsoft.Network/networkSecurityGroups/nsg")},
                "natGateway": {"id": at("Microsoft.Network/natGateways/nat")},
                "privateEndpointNetworkPolicies": "Disabled",
            }
        ),
    ),
    in_group(
        "network:NetworkSecurityGroup",
        "Microsoft.Network/networkSecurityGroups/{networkSecurityGroupName}",
        "network.NetworkSecurityGroup",
        create_only=LOCATION,
        kept_while_used=True,
        inline=Inline("securityRules", "securityRules", "network:SecurityRule"),
        sample=Sample(
            {
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
            }
        ),
    ),
    in_group(
        "network:SecurityRule",
        "Microsoft.Network/networkSecurityGroups/{networkSecurityGroupName}/securityRules/{securityRuleName}",
        "network.SecurityRule",
        sample=Sample(
            {
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
            }
        ),
    ),
    in_group(
        "network:PrivateEndpoint",
        "Microsoft.Network/privateEndpoints/{privateEndpointName}",
        "network.PrivateEndpoint",
        create_only=LOCATION | {"subnet"},
        computed={
            "customDnsConfigs": [],
            "networkInterfaces": [{"id": "{group}/providers/Microsoft.Network/networkInterfaces/{name}.nic"}],
        },
        sample=Sample(
            {
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
            }
        ),
    ),
    in_group(
        "network:PrivateDnsZoneGroup",
        "Microsoft.Network/privateEndpoints/{privateEndpointName}/privateDnsZoneGroups/{privateDnsZoneGroupName}",
        "network.PrivateDnsZoneGroup",
        sample=Sample(
            {
                **IN_GROUP,
                "privateEndpointName": "ml",
                "privateDnsZoneGroupName": "default",
                "privateDnsZoneConfigs": [
                    {
                        "name": "ml",
                        "privateDnsZoneId": at("Microsoft.Network/privateDnsZones/privatelink.api.azureml.ms"),
                    }
                ],
            }
        ),
    ),
    in_group(
        "network:NatGateway",
        "Microsoft.Network/natGateways/{natGatewayName}",
        "network.NatGateway",
        create_only=LOCATION,
        kept_while_used=True,
        sample=Sample(
            {
                **PLACE,
                "natGatewayName": "nat",
                "sku": {"name": "Standard"},
                "publicIpAddresses": [{"id": at("Microsoft.Network/publicIPAddresses/pip")}],
            }
        ),
    ),
    in_group(
        "network:PublicIPAddress",
        "Microsoft.Network/publicIPAddresses/{publicIpAddressName}",
        "network.PublicIPAddress",
        create_only=LOCATION,
        computed={"ipAddress": "198.51.100.{octet}"},
        kept_while_used=True,
        sample=Sample(
            {
                **PLACE,
                "publicIpAddressName": "pip",
                "sku": {"name": "Standard"},
                "publicIPAllocationMethod": "Static",
            }
        ),
    ),
    in_group(
        "network:VirtualNetworkGateway",
        "Microsoft.Network/virtualNetworkGateways/{virtualNetworkGatewayName}",
        "network.VirtualNetworkGateway",
        create_only=LOCATION | {"gatewayType", "vpnType"},
        sample=Sample(
            {
                **PLACE,
                "virtualNetworkGatewayName": "vpn",
                "gatewayType": "Vpn",
                "vpnType": "RouteBased",
                "sku": {"name": "VpnGw1AZ", "tier": "VpnGw1AZ"},
                "ipConfigurations": [
                    {
                        "name": "default",
                        "privateIPAllocationMethod": "Dynamic",
                        "subnet": {"id": at("Microsoft.Network/virtualNetworks/vnet/subnets/GatewaySubnet")},
                        "publicIPAddress": {"id": at("Microsoft.Network/publicIPAddresses/pip")},
                    }
                ],
            }
        ),
    ),
    in_group(
        "network:LocalNetworkGateway",
        "Microsoft.Network/localNetworkGateways/{localNetworkGatewayName}",
        "network.LocalNetworkGateway",
        create_only=LOCATION,
        sample=Sample(
            {
                **PLACE,
                "localNetworkGatewayName": "onprem",
                "gatewayIpAddress": "203.0.113.9",
                "localNetworkAddressSpace": {"addressPrefixes": ["10.9.0.0/16"]},
            }
        ),
    ),
    in_group(
        "network:VirtualNetworkGatewayConnection",
        "Microsoft.Network/connections/{virtualNetworkGatewayConnectionName}",
        "network.VirtualNetworkGatewayConnection",
        create_only=LOCATION | {"virtualNetworkGateway1", "localNetworkGateway2", "connectionType"},
        computed={"connectionStatus": "Connected"},
        sample=Sample(
            {
                **PLACE,
                "virtualNetworkGatewayConnectionName": "link",
                "connectionType": "IPsec",
                "sharedKey": "not-a-real-key",
                "virtualNetworkGateway1": {"id": at("Microsoft.Network/virtualNetworkGateways/vpn")},
                "localNetworkGateway2": {"id": at("Microsoft.Network/localNetworkGateways/onprem")},
            }
        ),
    ),
    in_group(
        "network:RouteTable",
        "Microsoft.Network/routeTables/{routeTableName}",
        "network.RouteTable",
        create_only=LOCATION,
        kept_while_used=True,
        sample=Sample(
            {
                **PLACE,
                "routeTableName": "routes",
                "routes": [{"name": "out", "addressPrefix": "0.0.0.0/0", "nextHopType": "Internet"}],
            }
        ),
    ),
    in_group(
        "network:VirtualNetworkPeering",
        "Microsoft.Network/virtualNetworks/{virtualNetworkName}/virtualNetworkPeerings/{virtualNetworkPeeringName}",
        "network.VirtualNetworkPeering",
        sample=Sample(
            {
                **IN_GROUP,
                "virtualNetworkName": "vnet",
                "virtualNetworkPeeringName": "hub",
                "remoteVirtualNetwork": {"id": at("Microsoft.Network/virtualNetworks/vnet")},
                "allowVirtualNetworkAccess": True,
            }
        ),
    ),
)
