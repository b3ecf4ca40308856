"""Names of private endpoints: https://learn.microsoft.com/azure/private-link/private-endpoint-dns"""

from __future__ import annotations

from typing import Any

from spillway.conformance.flows.doors import private_links
from spillway.conformance.flows.doors.vpc_endpoints import Place
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, azure, made, network, world

NETWORK = azure("network:VirtualNetwork", "net", {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}})
ZONE_NAME = "privatelink.blob.core.windows.net"
ZONE = azure("privatedns:PrivateZone", ZONE_NAME, {"privateZoneName": ZONE_NAME})
LINK = azure(
    "privatedns:VirtualNetworkLink", "link", {"privateZoneName": ZONE_NAME, "virtualNetwork": {"id": NETWORK.id}}
)
SUBNET = made(
    "azure-native:network:Subnet",
    "ends",
    {
        "addressPrefix": "10.9.1.0/24",
        "networkSecurityGroup": {"id": "nsg"},
        "privateEndpointNetworkPolicies": "Enabled",
    },
    id=f"{NETWORK.id}/subnets/ends",
)
ENDPOINT = azure(
    "network:PrivateEndpoint",
    "store",
    {
        "privateEndpointName": "store",
        "subnet": {"id": SUBNET.id},
        "privateLinkServiceConnections": [{"privateLinkServiceId": "/account", "groupIds": ["blob"]}],
    },
)


def zones(id_: Any = ZONE.id) -> Resource:
    config = [{"name": "blob", "privateDnsZoneId": id_}]
    return azure(
        "network:PrivateDnsZoneGroup", "zones", {"privateEndpointName": "store", "privateDnsZoneConfigs": config}
    )


def firewall(*rules: dict[str, Any]) -> Resource:
    props = {"networkSecurityGroupName": "nsg", "securityRules": list(rules)}
    return made("azure-native:network:NetworkSecurityGroup", "nsg", props)


WHOLE = (NETWORK, ZONE, LINK, SUBNET, ENDPOINT, firewall())


def inside(*resources: Resource) -> list[str]:
    found = asked(private_links.from_inside(world(*resources), ENDPOINT))
    return [one.resource.name if one.resource else "" for one in found]


def test_the_network_finds_its_endpoint() -> None:
    assert inside(*WHOLE, zones()) == []


def test_each_part_of_the_name_is_needed() -> None:
    assert inside(*WHOLE) == ["store"]
    assert inside(NETWORK, ZONE, SUBNET, ENDPOINT, firewall(), zones()) == [ZONE_NAME]
    other = azure(
        "privatedns:PrivateZone",
        "privatelink.file.core.windows.net",
        {"privateZoneName": "privatelink.file.core.windows.net"},
    )
    assert "zones" in inside(*WHOLE, other, zones(other.id))


def test_a_denial_before_the_defaults_keeps_the_network_out() -> None:
    wall = {"priority": 100, "direction": "Inbound", "access": "Deny", "protocol": "*", "destinationPortRange": "*"}
    wall |= {"sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}
    assert inside(NETWORK, ZONE, LINK, SUBNET, ENDPOINT, firewall(wall), zones()) == ["nsg"]


HOST = "store.blob.core.windows.net"


def from_vpc(*resources: Resource) -> set[tuple[str, str]]:
    plan = world(*network(), *WHOLE, zones(), *resources)
    found = asked(private_links.from_vpc(plan, Place(("private",)), ENDPOINT, HOST))
    return {(one.resource.name if one.resource else "", one.path) for one in found}


def across() -> list[Resource]:
    """A VPN of both clouds with a way back, and a rule that forwards names."""
    learn = "aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation"
    rule = {"domainName": "blob.core.windows.net", "ruleType": "FORWARD", "targetIps": [{"ip": "10.9.2.4"}]}
    allowed = {
        "priority": 100,
        "direction": "Inbound",
        "access": "Allow",
        "protocol": "Tcp",
        "destinationPortRange": "443",
    }
    return [
        made("aws:ec2/vpnGateway:VpnGateway", "vgw", {"vpcId": "vpc"}),
        made("aws:ec2/vpnConnection:VpnConnection", "vpn", {"vpnGatewayId": "vgw"}),
        made(learn, "learn", {"vpnGatewayId": "vgw", "routeTableId": "inner"}),
        azure("network:VirtualNetworkGatewayConnection", "connection"),
        azure(
            "network:LocalNetworkGateway", "peer", {"localNetworkAddressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
        ),
        made("aws:route53/resolverRule:ResolverRule", "forward", rule),
        made(
            "aws:route53/resolverRuleAssociation:ResolverRuleAssociation",
            "joined",
            {"vpcId": "vpc", "resolverRuleId": "forward"},
        ),
        azure("dnsresolver:InboundEndpoint", "resolver"),
        made(
            "azure-native:network:SecurityRule",
            "in",
            {
                **allowed,
                "networkSecurityGroupName": "nsg",
                "sourceAddressPrefix": "10.0.0.0/16",
                "destinationAddressPrefix": "10.9.1.0/24",
            },
        ),
    ]


def test_from_the_other_cloud_it_takes_a_name_a_way_and_a_way_back() -> None:
    assert from_vpc(*across()) == set()


def test_without_them_every_closed_door_is_told() -> None:
    """As in the reviews of both clouds: no names from AWS, no route back, and the rule that knows no VPC."""
    assert {name for name, _ in from_vpc()} == {"vpc", "store", "nsg"}
    short = azure(
        "network:LocalNetworkGateway", "peer", {"localNetworkAddressSpace": {"addressPrefixes": ["10.100.0.0/16"]}}
    )
    rest = [one for one in across() if one.name not in ("peer", "forward", "in")]
    assert from_vpc(*rest, short) == {
        ("vpc", ""),
        ("peer", "localNetworkAddressSpace.addressPrefixes"),
        ("nsg", "securityRules"),
    }


def test_in_a_landing_zone_a_policy_may_write_the_records() -> None:
    """Where the network is the stack's own and hangs on no hub, nobody does."""
    bare = (SUBNET, ENDPOINT, firewall())
    peering = azure("network:VirtualNetworkPeering", "hub", {"virtualNetworkName": "net"})
    own = azure("network:VirtualNetwork", "net", {**NETWORK.props, "virtualNetworkName": "net"})
    assert inside(own, *bare) == ["store"]
    assert inside(own, peering, *bare) == []
    assert inside(ENDPOINT) == []
