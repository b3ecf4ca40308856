"""How the stack's part of Azure fits into a landing zone: the stack file's ``connectivity.azure_network`` part."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from spillway.contracts.frozen import Settings

ZoneKey = Literal["api", "notebooks", "blob", "file", "vault", "registry"]
PRIVATE_ZONES: Final[dict[ZoneKey, str]] = {
    "api": "privatelink.api.azureml.ms",
    "notebooks": "privatelink.notebooks.azure.net",
    "blob": "privatelink.blob.core.windows.net",
    "file": "privatelink.file.core.windows.net",
    "vault": "privatelink.vaultcore.azure.net",
    "registry": "privatelink.azurecr.io",
}
"""Private DNS zones of the services that private endpoints are made for.
Source: Azure Private Endpoint private DNS zone values, learn.microsoft.com/azure/private-link/private-endpoint-dns."""

_IN_GROUP: Final = r"^/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/]+/providers"
VnetId = Annotated[str, Field(pattern=rf"{_IN_GROUP}/Microsoft\.Network/virtualNetworks/[^/]+$")]
SubnetId = Annotated[str, Field(pattern=rf"{_IN_GROUP}/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+$")]
ZoneId = Annotated[str, Field(pattern=rf"{_IN_GROUP}/Microsoft\.Network/privateDnsZones/[^/]+$")]


def _address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address; write it like 10.0.0.4") from None


Address = Annotated[str, AfterValidator(_address)]


AZURES_NUMBER: Final = 65515
RESERVED_NUMBERS: Final = frozenset({8074, 8075, 12076, 65515, *range(65517, 65521)})
"""Autonomous systems that Azure keeps for itself; a device has none of them
(https://learn.microsoft.com/azure/vpn-gateway/vpn-gateway-bgp-overview, read on 2026-11-30)."""


def _peer_address(value: str) -> str:
    if IPv4Address(_address(value)).is_link_local:
        raise ValueError(f"{value} is a link-local address; give the device's BGP address within its own networks")
    return value


class AzureBgpSettings(Settings):
    """BGP with the device of ``connectivity.vpn``, whose number is ``peer_asn``."""

    peer_address: Annotated[str, AfterValidator(_peer_address)]
    """The device's BGP address, inside the tunnels; not its public one."""
    asn: Annotated[int, Field(ge=1, le=4294967294)] = AZURES_NUMBER
    """BGP autonomous system number of the Azure side (Azure's default)."""


class AzureVpnSettings(Settings):
    """The Azure end of the VPN."""

    active_active: bool = False
    """Whether both instances of the gateway have an address and a tunnel, so that the maintenance of one interrupts
    nothing. The device keeps a tunnel to each; one more public address is paid."""
    bgp: AzureBgpSettings | None = None
    """Networks behind the device are learned over the tunnels; static routes to ``peer_cidrs`` when left out."""


class ExistingSubnets(Settings):
    """Subnets of a virtual network that the platform team owns."""

    nodes: SubnetId | None = None
    """For AKS's nodes and internal load balancers; needed with ``private_cluster.kind: aks``."""
    endpoints: SubnetId
    """For private endpoints."""
    courier: SubnetId | None = None
    """For the container that brings packages: delegated to Microsoft.ContainerInstance/containerGroups, with a way to
    S3 and to the registry of its image; needed with ``burst.azure_ml`` unless ``model_store.upload_package`` is off."""

    @model_validator(mode="after")
    def _one_network(self) -> ExistingSubnets:
        networks = {
            str(one).partition("/subnets/")[0].lower() for one in (self.nodes, self.endpoints, self.courier) if one
        }
        if len(networks) > 1:
            raise ValueError(f"the subnets are of {len(networks)} virtual networks; name those of one")
        return self


class AzureNetworkSettings(Settings):
    """What the landing zone has already. Where nothing is given, the stack makes a network of its own."""

    existing_subnets: ExistingSubnets | None = None
    """Use these, and make no virtual network, subnet, security group or route."""
    zones: Literal["own", "central", "policy"] = "own"
    """Private DNS zones of the private endpoints: of the stack's own, those of ``zone_ids``, or none, where an Azure
    Policy of the landing zone writes the records (DeployIfNotExists)."""
    zone_ids: dict[ZoneKey, ZoneId] = Field(default_factory=dict)
    """The central zones by short name, each one; needed with ``zones: central``."""
    hub_vnet_id: VnetId | None = None
    """The hub that the stack's own network is peered with. The hub's own peering back is the platform team's."""
    dns_servers: tuple[Address, ...] = ()
    """DNS servers of the stack's own network, such as the hub's; Azure's when left out."""
    firewall_address: Address | None = None
    """Private address of the firewall to which the stack's own subnets send what leaves the network."""

    @model_validator(mode="after")
    def _central_zones_are_named(self) -> AzureNetworkSettings:
        missing = sorted(set(PRIVATE_ZONES) - set(self.zone_ids))
        if self.zones == "central" and missing:
            raise ValueError(f"zones is central and zone_ids lacks {', '.join(missing)}; give the id of each zone")
        if self.zones != "central" and self.zone_ids:
            raise ValueError(f"zone_ids is given and zones is {self.zones}; set zones: central, or remove zone_ids")
        for key, id_ in self.zone_ids.items():
            if id_.rpartition("/")[2].lower() != PRIVATE_ZONES[key]:
                raise ValueError(f"zone_ids.{key} names {id_.rpartition('/')[2]}; it has to be {PRIVATE_ZONES[key]}")
        return self

    @model_validator(mode="after")
    def _own_network_alone_is_changed(self) -> AzureNetworkSettings:
        of_own = {
            "hub_vnet_id": self.hub_vnet_id,
            "dns_servers": self.dns_servers,
            "firewall_address": self.firewall_address,
        }
        given = [key for key, value in of_own.items() if value]
        if self.existing_subnets and given:
            raise ValueError(
                f"{', '.join(given)} would change a network that the platform team owns (existing_subnets); remove it"
            )
        if self.existing_subnets and self.zones == "own":
            raise ValueError(
                "zones is own, and a network that is there already has its zones: a second one of the same name cannot"
                " be linked to it; set zones: central or policy"
            )
        return self
