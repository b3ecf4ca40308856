"""The Azure side of the network: one VNet, subnets for nodes and private endpoints, private DNS zones."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice
from typing import Any, Final

import pulumi
from pulumi_azure_native import network, privatedns

from components.base import Component, StackContext
from components.connectivity.azure_settings import PRIVATE_ZONES, AzureNetworkSettings, ExistingSubnets

CONTAINERS: Final = "Microsoft.ContainerInstance/containerGroups"
"""What a subnet for container groups is delegated to."""


@dataclass(frozen=True)
class AzureNetworkArgs:
    """``cidr``: the VNet's range, /20 or larger; ``peer_cidrs``: networks that may call in. ``public_cidrs`` and
    ``public_port``: clients of a load balancer of AKS with a public address. ``has_courier``: whether packages are
    brought in by a container, which needs a subnet of its own and a way out."""

    settings: AzureNetworkSettings
    resource_group_name: pulumi.Input[str]
    location: str
    cidr: str
    peer_cidrs: tuple[str, ...] = ()
    public_cidrs: tuple[str, ...] = ()
    public_port: int = 443
    has_courier: bool = False


class AzureNetwork(Component):
    """Outputs: ``nodes_subnet_id``, ``endpoints_subnet_id``, ``courier_subnet_id`` (``None`` without one), ``zone_ids``
    (by short name, empty where a policy writes the records), ``vnet`` and ``last_subnet`` (``None`` where the network
    is there already)."""

    vnet: network.VirtualNetwork | None = None
    last_subnet: pulumi.Resource | None = None

    def __init__(
        self, context: StackContext, args: AzureNetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("connectivity-azure", context, opts)
        self.args = args
        self.nodes_subnet_id: pulumi.Input[str] | None
        self.endpoints_subnet_id: pulumi.Input[str]
        self.courier_subnet_id: pulumi.Input[str] | None
        there: ExistingSubnets | None = args.settings.existing_subnets
        if there:
            self.nodes_subnet_id, self.endpoints_subnet_id = there.nodes, there.endpoints
            self.courier_subnet_id = there.courier if args.has_courier else None
        else:
            self._own_network()
        self.zone_ids = self._zones()
        self.register_outputs({"endpoints_subnet_id": self.endpoints_subnet_id})

    def _own_network(self) -> None:
        args, settings, prefix = self.args, self.args.settings, self.context.prefix
        nodes, endpoints, courier = _subnets(args.cidr)
        servers = network.DhcpOptionsArgs(dns_servers=list(settings.dns_servers)) if settings.dns_servers else None
        self.vnet = network.VirtualNetwork(
            f"{prefix}-vnet",
            resource_group_name=args.resource_group_name,
            location=args.location,
            virtual_network_name=f"{prefix}-vnet",
            address_space=network.AddressSpaceArgs(address_prefixes=[args.cidr]),
            dhcp_options=servers,
            tags=self.context.tags,
            # Subnets and peerings are resources of their own; the VNet reports them too, which is no change of ours.
            opts=self.child(ignore_changes=["subnets", "virtualNetworkPeerings"]),
        )
        group = self._security_group()
        routes = self._routes(settings.firewall_address) if settings.firewall_address else None
        by_firewall: dict[str, Any] = {"route_table": network.RouteTableArgs(id=routes.id)} if routes else {}
        nodes_subnet = self._subnet("nodes", nodes, group, **by_firewall)
        # One after the other: ARM refuses two subnet writes to one VNet at the same time.
        endpoints_subnet = self._subnet("endpoints", endpoints, group, after=nodes_subnet)
        self.nodes_subnet_id, self.endpoints_subnet_id = nodes_subnet.id, endpoints_subnet.id
        self.last_subnet, self.courier_subnet_id = endpoints_subnet, None
        if args.has_courier:
            way_out = by_firewall or {"nat_gateway": network.SubResourceArgs(id=self._nat().id)}
            containers = network.DelegationArgs(name="containers", service_name=CONTAINERS)
            made = self._subnet("courier", courier, group, after=endpoints_subnet, delegations=[containers], **way_out)
            self.last_subnet, self.courier_subnet_id = made, made.id
        if settings.hub_vnet_id:
            self._peering(settings.hub_vnet_id, self.last_subnet)

    def _routes(self, firewall: str) -> network.RouteTable:
        return network.RouteTable(
            f"{self.context.prefix}-routes",
            resource_group_name=self.args.resource_group_name,
            location=self.args.location,
            route_table_name=f"{self.context.prefix}-routes",
            routes=[
                network.RouteArgs(
                    name="firewall",
                    address_prefix="0.0.0.0/0",
                    next_hop_type=network.RouteNextHopType.VIRTUAL_APPLIANCE,
                    next_hop_ip_address=firewall,
                )
            ],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _peering(self, hub_vnet_id: str, after: pulumi.Resource) -> None:
        assert self.vnet is not None
        network.VirtualNetworkPeering(
            f"{self.context.prefix}-hub",
            resource_group_name=self.args.resource_group_name,
            virtual_network_name=self.vnet.name,
            virtual_network_peering_name="hub",
            remote_virtual_network=network.SubResourceArgs(id=hub_vnet_id),
            allow_virtual_network_access=True,
            # What the hub forwards from its firewall and its gateways comes in.
            allow_forwarded_traffic=True,
            opts=self.child(depends_on=[after]),
        )

    def _zones(self) -> dict[str, pulumi.Input[str]]:
        match self.args.settings.zones:
            case "own":
                return {str(short): self._zone(short, zone) for short, zone in PRIVATE_ZONES.items()}
            case "central":
                return {str(short): zone_id for short, zone_id in self.args.settings.zone_ids.items()}
            case "policy":
                return {}

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
                    # Azure's load balancers keep the address that clients called (floating IP), a public one, too.
                    destination_address_prefix="*",
                    destination_port_range="443",
                ),
                *self._public_rules(),
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

    def _public_rules(self) -> list[network.SecurityRuleArgs]:
        """AKS balances with floating IPs: the subnet sees packets with the public address that they were sent to."""
        if not self.args.public_cidrs:
            return []
        return [
            network.SecurityRuleArgs(
                name="clients-to-public-address",
                priority=110,
                direction="Inbound",
                access="Allow",
                protocol="Tcp",
                source_address_prefixes=list(self.args.public_cidrs),
                source_port_range="*",
                destination_address_prefix="*",
                destination_port_range=str(self.args.public_port),
            )
        ]

    def _nat(self) -> network.NatGateway:
        args, prefix = self.args, self.context.prefix
        address = network.PublicIPAddress(
            f"{prefix}-courier-address",
            resource_group_name=args.resource_group_name,
            location=args.location,
            public_ip_address_name=f"{prefix}-courier",
            public_ip_allocation_method=network.IPAllocationMethod.STATIC,
            sku=network.PublicIPAddressSkuArgs(name=network.PublicIPAddressSkuName.STANDARD),
            tags=self.context.tags,
            opts=self.child(),
        )
        return network.NatGateway(
            f"{prefix}-courier-nat",
            resource_group_name=args.resource_group_name,
            location=args.location,
            nat_gateway_name=f"{prefix}-courier",
            sku=network.NatGatewaySkuArgs(name=network.NatGatewaySkuName.STANDARD),
            public_ip_addresses=[network.SubResourceArgs(id=address.id)],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _subnet(
        self,
        name: str,
        cidr: str,
        group: network.NetworkSecurityGroup,
        after: pulumi.Resource | None = None,
        **more: Any,
    ) -> network.Subnet:
        assert self.vnet is not None
        return network.Subnet(
            f"{self.context.prefix}-{name}",
            resource_group_name=self.args.resource_group_name,
            virtual_network_name=self.vnet.name,
            subnet_name=name,
            address_prefix=cidr,
            default_outbound_access=False,
            network_security_group=network.NetworkSecurityGroupArgs(id=group.id),
            private_endpoint_network_policies="Enabled",
            **more,
            opts=self.child(depends_on=[after] if after else None),
        )

    def _zone(self, short: str, zone: str) -> pulumi.Output[str]:
        assert self.vnet is not None
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


def _subnets(cidr: str) -> tuple[str, str, str]:
    """Nodes get the first half, private endpoints and the courier a /26 (64 addresses) each of the second."""
    first, second = IPv4Network(cidr).subnets(1)
    endpoints, courier = islice(second.subnets(new_prefix=26), 2)
    return str(first), str(endpoints), str(courier)


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
    """A private endpoint to one Azure resource, registered in its private DNS zones (short name -> zone id; none where
    a policy of the landing zone does that)."""
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
    if not zones:
        return endpoint
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
