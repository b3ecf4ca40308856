"""Ways out of a private subnet that must be there before who needs them, and until it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle.access import endpoints_with_models
from spillway.conformance.life_cycle.order import Order
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.property_values import texts
from spillway.contracts.resources import Resource

_GROUP: Final = "aws:ec2/securityGroup:SecurityGroup"
_GROUP_RULES: Final = (
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
)
_EVERYWHERE: Final = "0.0.0.0/0"


def _callers(graph: Graph) -> Iterator[tuple[Resource, list[str], list[str]]]:
    """(who calls AWS' APIs from inside a network, its subnets, its security groups)."""
    for group in graph.of("aws:eks/nodeGroup:NodeGroup"):
        yield group, texts(group.get("subnetIds")), []
    for service in graph.of("aws:ecs/service:Service"):
        network = "networkConfiguration."
        yield service, texts(service.get(f"{network}subnets")), texts(service.get(f"{network}securityGroups"))
    for instance in graph.of("aws:ec2/instance:Instance"):
        yield instance, texts(instance.get("subnetId")), texts(instance.get("vpcSecurityGroupIds"))
    for endpoint, model in endpoints_with_models(graph):
        yield endpoint, texts(model.get("vpcConfig.subnets")), texts(model.get("vpcConfig.securityGroupIds"))


def _roads(graph: Graph, subnet: str) -> list[Resource]:
    """The routes that lead out of a subnet, with what ties them to it; without a default route its VPC endpoints."""
    ties = [
        tie for tie in graph.of("aws:ec2/routeTableAssociation:RouteTableAssociation") if tie.get("subnetId") == subnet
    ]
    tables = {tie.get("routeTableId") for tie in ties}
    routes = [route for route in graph.of("aws:ec2/route:Route") if route.get("routeTableId") in tables]
    if any(route.get("destinationCidrBlock") == _EVERYWHERE for route in routes):
        return [*ties, *routes]
    home = graph.named(subnet, "aws:ec2/subnet:Subnet")
    vpc = home.get("vpcId") if home else None
    endpoints = [e for e in graph.of("aws:ec2/vpcEndpoint:VpcEndpoint") if vpc and e.get("vpcId") == vpc]
    return [*ties, *routes, *endpoints]


def _roads_outlive_callers(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    for caller, subnets, _ in _callers(graph) if order.told else ():
        roads = {road.urn: road for subnet in subnets for road in _roads(graph, subnet)}
        early = [road.name for road in roads.values() if not order.outlives(road, caller)]
        if early:
            yield Finding(
                "ec2-roads-outlive-callers",
                caller,
                "",
                f"it needs the way out of its subnets, and nothing ties it to {_some(early)}: `up` may make it before"
                " there is a way, and `destroy` may take that first",
                "Let it depend on the routes, their associations and the VPC endpoints.",
            )


def _rules_outlive_callers(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    for caller, _, groups in _callers(graph) if order.told else ():
        early = [
            rule.name
            for rule in graph.of(*_GROUP_RULES)
            if rule.get("securityGroupId") in groups and not order.outlives(rule, caller)
        ]
        if early:
            yield Finding(
                "ec2-rules-outlive-callers",
                caller,
                "",
                f"nothing ties it to rules of its own security groups ({_some(early)}): `up` may make it while they"
                " are closed, and `destroy` may close them first",
                "Let it depend on the rules, or write them into the security group.",
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


RULES: Final = (
    Rule(
        "ec2-roads-outlive-callers",
        "Nodes and tasks in private subnets need a way to AWS' APIs from their first minute until they are gone.",
        Source(
            "Amazon EKS: private cluster requirements",
            "https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html",
            "2026-11-29",
        ),
        _roads_outlive_callers,
    ),
    Rule(
        "ec2-rules-outlive-callers",
        "A security group's rules that are resources of their own come and go on their own.",
        Source(
            "Amazon SageMaker AI: give hosted endpoints access to resources in your VPC",
            "https://docs.aws.amazon.com/sagemaker/latest/dg/host-vpc.html",
            "2026-11-29",
        ),
        _rules_outlive_callers,
    ),
)
