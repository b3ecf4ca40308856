from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.conformance.flows.doors.vpc_endpoints import ENDPOINT
from spillway.conformance.flows.doors.vpc_routes import CONNECTION
from spillway.conformance.flows.families.names import FAMILY
from spillway.conformance.flows.gateways import SERVICE, TASK
from spillway.contracts.resources import Resource
from spillway.contracts.task_files import FILES_VARIABLE, pack
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


SPACE, REGISTRY = "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace", "aws:servicediscovery/service:Service"
HOST = "gateway-peers.stack.internal"


def standby(
    host: str = HOST, policy: str = "MULTIVALUE", vpc: str = "vpc", registry: str | None = "arn:peers"
) -> list[Resource]:
    """A gateway in Fargate whose tasks count themselves."""
    files = pack({"/etc/spillway/routing.json": json.dumps({"role": "standby", "peers": {"host": host}})})
    definitions = json.dumps([{"name": "files", "environment": [{"name": FILES_VARIABLE, "value": files}]}])
    service = {"taskDefinition": "task", "networkConfiguration": {"subnets": ["private"], "securityGroups": []}}
    return [
        *network(),
        made(TASK, "task", {"containerDefinitions": definitions}),
        made(SERVICE, "tasks", {**service, "serviceRegistries": {"registryArn": registry} if registry else None}),
        made(SPACE, "space", {"name": "stack.internal", "vpc": vpc}),
        made(
            REGISTRY,
            "peers",
            {"name": "gateway-peers", "dnsConfig": {"namespaceId": "space", "routingPolicy": policy}},
            arn="arn:peers",
        ),
    ]


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        (standby(), set[str]()),
        (standby(registry=None), {"tasks"}),
        (standby(host="peers.elsewhere"), {"peers"}),
        (standby(policy="WEIGHTED"), {"peers"}),
        (standby(vpc="other"), {"space"}),
        (standby(host=""), {"peers"}),
    ],
)
def test_tasks_find_each_other_by_the_name_that_their_service_keeps(resources: list[Resource], named: set[str]) -> None:
    flows = [flow for flow in FAMILY.flows(world(*resources)) if flow.target == "its tasks' name"]
    assert len(flows) == 1
    assert {one.resource.name for one in asked(flows[0].doors) if one.resource} == named
