"""The stack's own network in Azure, and what is left of it in a landing zone."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from components.connectivity.azure_network import AzureNetwork, AzureNetworkArgs
from components.connectivity.azure_settings import PRIVATE_ZONES, AzureNetworkSettings
from tests.support.recording import Recorded, context, of_type, record

PLACE = f"/subscriptions/{'0' * 8}-0000-4000-8000-{'0' * 12}/resourceGroups/hub/providers"
VNET = f"{PLACE}/Microsoft.Network/virtualNetworks/landing"
SUBNETS = {name: f"{VNET}/subnets/{name}" for name in ("nodes", "endpoints", "courier")}
ZONES = {key: f"{PLACE}/Microsoft.Network/privateDnsZones/{zone}" for key, zone in PRIVATE_ZONES.items()}
NETWORK = "azure-native:network"


def network(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    args = {
        "settings": AzureNetworkSettings.model_validate(settings or {}),
        "resource_group_name": "rg",
        "location": "westeurope",
        "cidr": "10.41.0.0/16",
        "has_courier": True,
        **changes,
    }
    return record(lambda: AzureNetwork(context(), AzureNetworkArgs(**args)))


def test_its_own_network_has_private_subnets_zones_and_one_way_out() -> None:
    found = network()
    subnets = {s.inputs["subnetName"]: s.inputs for s in of_type(found, f"{NETWORK}:Subnet")}
    assert {s["defaultOutboundAccess"] for s in subnets.values()} == {False}
    assert len(of_type(found, "azure-native:privatedns:PrivateZone")) == len(PRIVATE_ZONES)
    assert [name for name, s in subnets.items() if s.get("natGateway")] == ["courier"]
    [delegation] = subnets["courier"]["delegations"]
    assert delegation["serviceName"] == "Microsoft.ContainerInstance/containerGroups"


def test_clients_reach_the_public_address_that_the_subnet_sees() -> None:
    """Azure/AKS#674: with floating IPs the destination is the load balancer's address, never the network's."""
    rules = {
        public: {
            rule["name"]: rule
            for rule in of_type(network(public_cidrs=public), f"{NETWORK}:NetworkSecurityGroup")[0].inputs[
                "securityRules"
            ]
        }
        for public in ((), ("198.51.100.0/24",))
    }
    assert "clients-to-public-address" not in rules[()]
    admitted = rules[("198.51.100.0/24",)]["clients-to-public-address"]
    assert admitted["destinationAddressPrefix"] == "*"
    assert admitted["sourceAddressPrefixes"] == ["198.51.100.0/24"]
    assert admitted["priority"] < rules[()]["deny-internet"]["priority"]


def test_a_spoke_goes_out_through_the_firewall_and_asks_the_hubs_resolver() -> None:
    hub = f"{PLACE}/Microsoft.Network/virtualNetworks/hub"
    found = network({"hub_vnet_id": hub, "firewall_address": "10.0.0.4", "dns_servers": ["10.0.0.5"]})
    assert not of_type(found, f"{NETWORK}:NatGateway")
    routed = [s.inputs["subnetName"] for s in of_type(found, f"{NETWORK}:Subnet") if s.inputs.get("routeTable")]
    assert sorted(routed) == ["courier", "nodes"]
    [peering] = of_type(found, f"{NETWORK}:VirtualNetworkPeering")
    assert peering.inputs["remoteVirtualNetwork"] == {"id": hub}
    [vnet] = of_type(found, f"{NETWORK}:VirtualNetwork")
    assert vnet.inputs["dhcpOptions"] == {"dnsServers": ["10.0.0.5"]}


@pytest.mark.parametrize("zones", [{"zones": "central", "zone_ids": ZONES}, {"zones": "policy"}])
def test_a_landing_zones_network_and_zones_are_left_alone(zones: dict[str, Any]) -> None:
    found = network({"existing_subnets": SUBNETS, **zones}, public_cidrs=("198.51.100.0/24",))
    assert [r.type for r in found if r.type.startswith("azure-native:")] == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"zones": "central"}, "zone_ids lacks api, blob"),
        ({"zone_ids": {"blob": ZONES["blob"]}}, "set zones: central"),
        ({"zones": "central", "zone_ids": {**ZONES, "file": ZONES["blob"]}}, "privatelink.file.core.windows.net"),
        ({"existing_subnets": SUBNETS}, "set zones: central or policy"),
        ({"existing_subnets": SUBNETS, "zones": "policy", "dns_servers": ["10.0.0.5"]}, "dns_servers would change"),
        ({"existing_subnets": {**SUBNETS, "nodes": SUBNETS["nodes"].replace("landing", "other")}}, "name those of one"),
        ({"firewall_address": "firewall"}, "not an IPv4 address"),
    ],
)
def test_what_contradicts_itself_is_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AzureNetworkSettings.model_validate(settings)
