"""The Azure end of the site-to-site VPN, over which the private site reaches the endpoints without the Internet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

import pulumi
from pulumi_azure_native import network

from components.azure_logs import VPN_GATEWAY, log_workspace, send_logs
from components.base import Component, StackContext
from components.connectivity.settings import VpnSettings

LOG_DAYS: Final = 90
SA_SECONDS: Final = 27_000
SA_KILOBYTES: Final = 102_400_000
"""Azure's own life of a security association: learn.microsoft.com/azure/vpn-gateway/vpn-gateway-about-vpn-devices."""


@dataclass(frozen=True)
class AzureVpnArgs:
    """``vnet_cidr``: the VNet's range, whose last /27 becomes the gateway's subnet. ``after``: the other subnets.

    ``pre_shared_key``: a secret.
    """

    settings: VpnSettings
    resource_group_name: pulumi.Input[str]
    location: str
    vnet_name: pulumi.Input[str]
    vnet_cidr: str
    pre_shared_key: pulumi.Input[str]
    after: Sequence[pulumi.Resource] = ()


class AzureVpn(Component):
    """Outputs: ``gateway_id``, ``gateway_addresses`` (public: one, or of both instances), ``connection_id``."""

    def __init__(self, context: StackContext, args: AzureVpnArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("connectivity-azure-vpn", context, opts)
        self.args = args
        # The first one's names are those of a gateway that had no second.
        endings = ("", "-2") if args.settings.azure.active_active else ("",)
        addresses = [self._address(ending) for ending in endings]
        gateway = self._gateway(addresses)
        connection = self._connection(gateway)
        logs = log_workspace(self, "azure-vpn-logs", args.resource_group_name, args.location, "vpn-logs", LOG_DAYS)
        send_logs(self, "azure-vpn-diagnostics", gateway.id, logs.id, VPN_GATEWAY)
        self.gateway_id = gateway.id
        self.gateway_addresses = [address.ip_address for address in addresses]
        self.connection_id = connection.id
        self.register_outputs({"gateway_id": self.gateway_id})

    def _address(self, ending: str) -> network.PublicIPAddress:
        args = self.args
        return network.PublicIPAddress(
            f"{self.context.prefix}-azure-vpn-address{ending}",
            resource_group_name=args.resource_group_name,
            location=args.location,
            public_ip_address_name=f"{self.context.prefix}-vpn{ending}",
            public_ip_allocation_method=network.IPAllocationMethod.STATIC,
            sku=network.PublicIPAddressSkuArgs(name=network.PublicIPAddressSkuName.STANDARD),
            zones=["1", "2", "3"],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _gateway(self, addresses: Sequence[network.PublicIPAddress]) -> network.VirtualNetworkGateway:
        args, bgp = self.args, self.args.settings.azure.bgp
        subnet = network.Subnet(
            f"{self.context.prefix}-azure-vpn-subnet",
            resource_group_name=args.resource_group_name,
            virtual_network_name=args.vnet_name,
            # Azure looks for exactly this name.
            subnet_name="GatewaySubnet",
            address_prefix=gateway_subnet(args.vnet_cidr),
            # ARM refuses two subnet writes to one VNet at the same time.
            opts=self.child(depends_on=list(args.after)),
        )
        return network.VirtualNetworkGateway(
            f"{self.context.prefix}-azure-vpn",
            resource_group_name=args.resource_group_name,
            location=args.location,
            virtual_network_gateway_name=f"{self.context.prefix}-vpn",
            gateway_type=network.VirtualNetworkGatewayType.VPN,
            vpn_type=network.VpnType.ROUTE_BASED,
            vpn_gateway_generation=network.VpnGatewayGeneration.GENERATION2,
            sku=network.VirtualNetworkGatewaySkuArgs(
                name=network.VirtualNetworkGatewaySkuName.VPN_GW2_AZ,
                tier=network.VirtualNetworkGatewaySkuTier.VPN_GW2_AZ,
            ),
            active_active=args.settings.azure.active_active,
            enable_bgp=bgp is not None,
            bgp_settings=network.BgpSettingsArgs(asn=bgp.asn) if bgp else None,
            ip_configurations=[
                network.VirtualNetworkGatewayIPConfigurationArgs(
                    name=name,
                    private_ip_allocation_method=network.IPAllocationMethod.DYNAMIC,
                    public_ip_address=network.SubResourceArgs(id=address.id),
                    subnet=network.SubResourceArgs(id=subnet.id),
                )
                for name, address in zip(("default", "second"), addresses, strict=False)
            ],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _connection(self, gateway: network.VirtualNetworkGateway) -> network.VirtualNetworkGatewayConnection:
        args, bgp = self.args, self.args.settings.azure.bgp
        # With BGP the device's own address alone is behind it by configuration; it tells the rest.
        behind = [f"{bgp.peer_address}/32"] if bgp else list(args.settings.peer_cidrs)
        peer = network.LocalNetworkGateway(
            f"{self.context.prefix}-azure-vpn-peer",
            resource_group_name=args.resource_group_name,
            location=args.location,
            local_network_gateway_name=f"{self.context.prefix}-peer",
            gateway_ip_address=args.settings.peer_address,
            bgp_settings=network.BgpSettingsArgs(asn=args.settings.peer_asn, bgp_peering_address=bgp.peer_address)
            if bgp
            else None,
            local_network_address_space=network.AddressSpaceArgs(address_prefixes=behind),
            tags=self.context.tags,
            opts=self.child(),
        )
        return network.VirtualNetworkGatewayConnection(
            f"{self.context.prefix}-azure-vpn-connection",
            resource_group_name=args.resource_group_name,
            location=args.location,
            virtual_network_gateway_connection_name=f"{self.context.prefix}-peer",
            connection_type=network.VirtualNetworkGatewayConnectionType.IPSEC,
            enable_bgp=bgp is not None,
            connection_protocol=network.VirtualNetworkGatewayConnectionProtocol.IK_EV2,
            # As the AWS side has it: AES256-GCM, SHA-384, Diffie-Hellman group 20. Azure's own proposals are weaker.
            ipsec_policies=[
                network.IpsecPolicyArgs(
                    ike_encryption=network.IkeEncryption.GCMAES256,
                    ike_integrity=network.IkeIntegrity.SHA384,
                    dh_group=network.DhGroup.ECP384,
                    ipsec_encryption=network.IpsecEncryption.GCMAES256,
                    ipsec_integrity=network.IpsecIntegrity.GCMAES256,
                    pfs_group=network.PfsGroup.ECP384,
                    sa_life_time_seconds=SA_SECONDS,
                    sa_data_size_kilobytes=SA_KILOBYTES,
                )
            ],
            virtual_network_gateway1=network.VirtualNetworkGatewayArgs(id=gateway.id),
            local_network_gateway2=network.LocalNetworkGatewayArgs(id=peer.id),
            shared_key=pulumi.Output.secret(args.pre_shared_key),
            tags=self.context.tags,
            opts=self.child(additional_secret_outputs=["sharedKey"]),
        )


def gateway_subnet(vnet_cidr: str) -> str:
    """The last /27 of the VNet: what Azure asks for at least, out of the way of nodes and private endpoints."""
    block = IPv4Network(vnet_cidr)
    return str(IPv4Network((int(block.broadcast_address) - 31, 27)))
