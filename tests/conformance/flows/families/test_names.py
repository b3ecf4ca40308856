from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.doors.vpc_endpoints import ENDPOINT
from spillway.conformance.flows.doors.vpc_routes import CONNECTION
from spillway.conformance.flows.families.names import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, group, made, network, rule, subnet, world

COMPANY = "10.100.0.0/16"
DNS = group("dns", ingress=[rule(53, COMPANY), rule(53, COMPANY, protocol="udp")])
ENDS = group("ends", ingress=[rule(443, "10.0.0.0/16", COMPANY)])


def resolver(**props: Any) -> Resource:
    found = {"direction": "INBOUND", "securityGroupIds": ["dns"]}
    addresses = [{"subnetId": "private"}, {"subnetId": "private"}]
    return made(
        "aws:route53/resolverEndpoint:ResolverEndpoint", "resolver", {**found, "ipAddresses": addresses, **props}
    )


def plan(*resources: Resource) -> list[Resource]:
    learn = "aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation"
    props = {"serviceName": "com.amazonaws.us-east-1.sts", "vpcEndpointType": "Interface", "vpcId": "vpc"}
    return [
        *network(),
        subnet("other", "10.0.2.0/24"),
        made("aws:ec2/vpnGateway:VpnGateway", "vgw", {"vpcId": "vpc"}),
        made(CONNECTION, "vpn", {"vpnGatewayId": "vgw"}),
        made(learn, "learn", {"vpnGatewayId": "vgw", "routeTableId": "inner"}),
        made(ENDPOINT, "sts", {**props, "subnetIds": ["private"], "securityGroupIds": ["ends"]}),
        *resources,
    ]


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        (plan(DNS, ENDS, resolver()), set[str]()),
        (plan(DNS, ENDS), {"vpc"}),
        (plan(DNS, ENDS, resolver(ipAddresses=[{"subnetId": "private"}])), {"resolver"}),
        (plan(group("dns", ingress=[rule(53, COMPANY)]), ENDS, resolver()), {"dns"}),
        (plan(DNS, group("ends", ingress=[rule(443, "10.0.0.0/16")]), resolver()), {"ends"}),
        ([one for one in plan(DNS, ENDS, resolver()) if one.name != "learn"], {"inner"}),
    ],
)
def test_the_companys_network_finds_what_is_in_the_vpc(resources: list[Resource], named: set[str]) -> None:
    found = [one for flow in FAMILY.flows(world(*resources)) for one in asked(flow.doors)]
    assert {one.resource.name for one in found if one.resource} == named
