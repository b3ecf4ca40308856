"""Ways out of a private subnet outlive who calls from there."""

from __future__ import annotations

from functools import partial

from spillway.conformance.life_cycle.roads import RULES
from tests.conformance.plan import accused as _accused
from tests.conformance.plan import made, needing

accused = partial(_accused, RULES)

SUBNET = made("aws:ec2/subnet:Subnet", "subnet-1", {"vpcId": "vpc-1"})
TIE = made(
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "tie",
    {"subnetId": "subnet-1", "routeTableId": "rtb-1"},
    needs=[SUBNET],
)
ROUTE = made("aws:ec2/route:Route", "default", {"routeTableId": "rtb-1", "destinationCidrBlock": "0.0.0.0/0"})
ENDPOINT = made("aws:ec2/vpcEndpoint:VpcEndpoint", "ecr", {"vpcId": "vpc-1"}, needs=[SUBNET])
NODES = made("aws:eks/nodeGroup:NodeGroup", "gpu", {"subnetIds": ["subnet-1"]}, needs=[SUBNET])


def test_nodes_wait_for_the_default_route() -> None:
    assert accused("ec2-roads-outlive-callers", SUBNET, TIE, ROUTE, NODES) == ["gpu"]
    assert accused("ec2-roads-outlive-callers", SUBNET, TIE, ROUTE, needing(NODES, TIE)) == ["gpu"]
    assert accused("ec2-roads-outlive-callers", SUBNET, TIE, ROUTE, needing(NODES, TIE, ROUTE)) == []


def test_endpoints_are_the_way_only_where_there_is_no_default_route() -> None:
    assert accused("ec2-roads-outlive-callers", SUBNET, TIE, ENDPOINT, needing(NODES, TIE)) == ["gpu"]
    assert accused("ec2-roads-outlive-callers", SUBNET, TIE, ENDPOINT, needing(NODES, TIE, ENDPOINT)) == []
    assert accused("ec2-roads-outlive-callers", SUBNET, TIE, ROUTE, ENDPOINT, needing(NODES, TIE, ROUTE)) == []


def test_who_calls_waits_for_the_rules_of_its_security_group() -> None:
    rule = made("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", "https", {"securityGroupId": "sg-1"})
    service = made(
        "aws:ecs/service:Service",
        "standby",
        {"networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}},
        needs=[SUBNET],
    )
    assert accused("ec2-rules-outlive-callers", SUBNET, rule, service) == ["standby"]
    assert accused("ec2-rules-outlive-callers", SUBNET, rule, needing(service, rule)) == []
