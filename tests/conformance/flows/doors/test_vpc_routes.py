from __future__ import annotations

import pytest

from spillway.conformance.flows.doors import vpc_routes
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import made, network, table, vpc, world


def closed(resources: list[Resource], subnet: str = "private", **how: bool) -> list[tuple[str, str]]:
    found = vpc_routes.internet(world(*resources), [subnet], **how)
    return [(one.resource.name if one.resource else "", one.path) for one in found]


def without(resources: list[Resource], name: str) -> list[Resource]:
    return [one for one in resources if one.name != name]


def test_a_private_subnet_leaves_by_nat_and_a_public_one_is_reached() -> None:
    assert closed(network()) == []
    assert closed(network(), "public", inbound=True) == []


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        (without(network(), "inner-private"), "private"),
        (network(nat=False), "inner"),
        (without(network(), "outer-default"), "outer"),
        ([*without(network(), "inner-default"), *table("inner", gatewayId="igw")[1:]], "inner-default"),
    ],
)
def test_a_way_that_ends_names_where(resources: list[Resource], named: str) -> None:
    assert [name for name, _ in closed(resources)] == [named]


def test_a_nat_gateway_needs_an_address_and_a_public_subnet() -> None:
    kind = "aws:ec2/natGateway:NatGateway"
    rest = without(network(), "nat")
    assert closed([*rest, made(kind, "nat", {"subnetId": "public"})]) == [("nat", "allocationId")]
    assert closed([*rest, made(kind, "nat", {"subnetId": "private", "allocationId": "e"})]) == [("nat", "subnetId")]


def test_a_gateway_of_another_vpc_leads_nowhere() -> None:
    other = made("aws:ec2/internetGateway:InternetGateway", "igw", {"vpcId": "another"})
    assert closed([*without(network(), "igw"), other], "public", inbound=True) == [("igw", "vpcId")]


def test_a_subnet_of_an_existing_vpc_is_not_judged() -> None:
    assert closed([vpc()], "subnet-of-the-company") == []


def test_the_resolver_can_be_off() -> None:
    off = [vpc(enableDnsSupport=False), *network()[1:]]
    assert [one.path for one in vpc_routes.resolver(world(*off), ["private"])] == ["enableDnsSupport"]
    assert not list(vpc_routes.resolver(world(*network()), ["private"]))


def test_a_vpn_needs_gateway_connection_and_routes_back() -> None:
    gateway = made("aws:ec2/vpnGateway:VpnGateway", "vgw", {"vpcId": "vpc"})
    connection = made(vpc_routes.CONNECTION, "vpn", {"vpnGatewayId": "vgw"})
    kind = "aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation"
    routes = made(kind, "learn", {"vpnGatewayId": "vgw", "routeTableId": "inner"})
    whole = [*network(), gateway, connection, routes]
    assert not list(vpc_routes.site_to_site(world(*whole), ["private"]))
    for missing, named in (("vgw", "vpc"), ("vpn", "vgw"), ("learn", "inner")):
        found = list(vpc_routes.site_to_site(world(*without(whole, missing)), ["private"]))
        assert [one.resource.name for one in found if one.resource] == [named]
