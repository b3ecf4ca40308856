"""The Azure side of the network: one VNet, subnets for nodes and private endpoints, private DNS zones."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

import pulumi
from pulumi_azure_native import network, privatedns

from components.base import Component, StackContext

PRIVATE_ZONES: Final = {
    "api": "privatelink.api.azureml.ms",
    "notebooks": "privatelink.notebooks.azure.net",
    "blob": "privatelink.blob.core.windows.net",
    "file": "privatelink.file.core.windows.net",
    "vault": "privatelink.vaultcore.azure.net",
    "registry": "privatelink.azurecr.io",
}
"""Private DNS zones of the services that private endpoints are made for.
Source: Azure Private Endpoint private DNS zone values, learn.microsoft.com/azure/private-link/private-endpoint-dns."""


@dataclass(frozen=True)
class AzureNetworkArgs:
    """``cidr``: the VNet's range, /20 or larger; ``peer_cidrs``: networks that may call in."""

    resource_group_name: pulumi.Input[str]
    location: str
    cidr: str
    peer_cidrs: tuple[str, ...] = ()


class AzureNetwork(Component):
    """Outputs: ``vnet_id``, ``nodes_subnet_id``, ``endpoints_subnet_id``, ``zone_ids`` (by short name)."""

    def __init__(
        self, context: StackContext, args: AzureNetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("connectivity_azure", context, opts)
        self.args = args
        nodes, endpoints = _subnets(args.cidr)
        self.vnet = network.VirtualNetwork(
            f"{context.prefix}-vnet",
            resource_group_name=args.resource_group_name,
            location=args.location,
            virtual_network_name=f"{context.prefix}-vnet",
            address_space=network.AddressSpaceArgs(address_prefixes=[args.cidr]),
            tags=context.tags,
            # Subnets are resources of their own; the VNet reports them too, which is no change of ours.
            opts=self.child(ignore_changes=["subnets"]),
        )
        self.vnet_id = self.vnet.id
        group = self._security_group()
        self.nodes_subnet = self._subnet("nodes", nodes, group)
        # One after the other: ARM refuses two subnet writes to one VNet at the same time.
        self.endpoints_subnet = self._subnet("endpoints", endpoints, group, after=self.nodes_subnet)
        self.nodes_subnet_id = self.nodes_subnet.id
        self.endpoints_subnet_id = self.endpoints_subnet.id
        self.zone_ids = {short: self._zone(short, zone) for short, zone in PRIVATE_ZONES.items()}
        self.register_outputs({"vnet_id": self.vnet_id})

    def _security_group(self) -> network.NetworkSecurityGroup:
        allowed = [self.args.cidr, *self.args.peer_cidrs]
        return network.NetworkSecurityGroup(
            f"{self.context.prefix}-nsg",
            resource_group_name=self.args.resource_group_name,
            location=self.args.location,
            network_security_group_name=f"{self.context.prefix}-nsg",
            security_rules=[
                network.SecurityRuleArgs(
                    name="https-from-known-networks",
                    priority=100,
                    direction="Inbound",
                    access="Allow",
                    protocol="Tcp",
                    source_address_prefixes=allowed,
                    source_port_range="*",
                    destination_address_prefix="VirtualNetwork",
                    destination_port_range="443",
                ),
                network.SecurityRuleArgs(
                    name="deny-internet",
                    priority=4000,
                    direction="Inbound",
                    access="Deny",
                    protocol="*",
                    source_address_prefix="Internet",
                    source_port_range="*",
                    destination_address_prefix="*",
                    destination_port_range="*",
                ),
            ],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _subnet(
        self, name: str, cidr: str, group: network.NetworkSecurityGroup, after: pulumi.Resource | None = None
    ) -> network.Subnet:
        return network.Subnet(
            f"{self.context.prefix}-{name}",
            resource_group_name=self.args.resource_group_name,
            virtual_network_name=self.vnet.name,
            subnet_name=name,
            address_prefix=cidr,
            default_outbound_access=False,
            network_security_group=network.NetworkSecurityGroupArgs(id=group.id),
            private_endpoint_network_policies="Enabled",
            opts=self.child(depends_on=[after] if after else None),
        )

    def _zone(self, short: str, zone: str) -> pulumi.Output[str]:
        created = privatedns.PrivateZone(
            f"{self.context.prefix}-zone-{short}",
            resource_group_name=self.args.resource_group_name,
            private_zone_name=zone,
            location="global",
            tags=self.context.tags,
            opts=self.child(),
        )
        privatedns.VirtualNetworkLink(
            f"{self.context.prefix}-zone-{short}-link",
            resource_group_name=self.args.resource_group_name,
            private_zone_name=created.name,
            virtual_network_link_name=f"{self.context.prefix}-{short}",
            location="global",
            registration_enabled=False,
            virtual_network=privatedns.SubResourceArgs(id=self.vnet.id),
            tags=self.context.tags,
            opts=self.child(),
        )
        return created.id


def _subnets(cidr: str) -> tuple[str, str]:
    """Nodes get the first half, private endpoints a /26 (64 addresses) of the second."""
    first, second = IPv4Network(cidr).subnets(1)
    endpoints = next(second.subnets(new_prefix=26))
    return str(first), str(endpoints)


def private_endpoint(
    component: Component,
    name: str,
    *,
    resource_group_name: pulumi.Input[str],
    location: str,
    subnet_id: pulumi.Input[str],
    target_id: pulumi.Input[str],
    group_id: str,
    zones: dict[str, pulumi.Input[str]],
) -> network.PrivateEndpoint:
    """A private endpoint to one Azure resource, registered in its private DNS zones (short name -> zone id)."""
    prefix = component.context.prefix
    endpoint = network.PrivateEndpoint(
        f"{prefix}-pe-{name}",
        resource_group_name=resource_group_name,
        location=location,
        private_endpoint_name=f"{prefix}-pe-{name}",
        subnet=network.SubnetArgs(id=subnet_id),
        private_link_service_connections=[
            network.PrivateLinkServiceConnectionArgs(name=name, private_link_service_id=target_id, group_ids=[group_id])
        ],
        tags=component.context.tags,
        opts=component.child(),
    )
    network.PrivateDnsZoneGroup(
        f"{prefix}-pe-{name}-dns",
        resource_group_name=resource_group_name,
        private_endpoint_name=endpoint.name,
        private_dns_zone_group_name="default",
        private_dns_zone_configs=[
            network.PrivateDnsZoneConfigArgs(name=short, private_dns_zone_id=zone) for short, zone in zones.items()
        ],
        opts=component.child(),
    )
    return endpoint
