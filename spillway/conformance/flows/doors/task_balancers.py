"""Load balancers of the plan in front of ECS tasks.

A task with its own network interface is a target by address:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/alb.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spillway.conformance.flows.doors import vpc_routes
from spillway.conformance.flows.doors.firewalls import Peer, groups_allow, lists_allow
from spillway.conformance.flows.doors.vpc_endpoints import Place
from spillway.conformance.flows.flow import Closed
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

LISTENER: Final = "aws:lb/listener:Listener"
BALANCER: Final = "aws:lb/loadBalancer:LoadBalancer"
GROUP: Final = "aws:lb/targetGroup:TargetGroup"


@dataclass(frozen=True)
class Registered:
    """An ECS service as a target: its place, its task's containers, and what it says of the target group."""

    service: Resource
    place: Place
    containers: list[Mapping[str, Any]]
    entry: Mapping[str, Any]


def groups_of(world: World, listener: Resource) -> list[Resource]:
    """The target groups that a listener forwards to."""
    arns: list[Any] = []
    for action in listener.props.get("defaultActions") or ():
        arns.append(action.get("targetGroupArn"))
        arns += [one.get("arn") for one in (action.get("forward") or {}).get("targetGroups") or ()]
    return [found for arn in arns if (found := world.by_arn(arn, GROUP))]


def listens(world: World, balancer: Resource) -> Iterator[Closed]:
    """Whether anything listens at a load balancer."""
    arn = balancer.outputs.get("arn") or balancer.id
    if all(one.props.get("loadBalancerArn") != arn for one in world.graph.of(LISTENER)):
        yield Closed(balancer, "", "nothing listens at the load balancer", "Add a listener.")


def forwards(world: World, listener: Resource) -> Iterator[Closed]:
    if not groups_of(world, listener):
        yield Closed(
            listener, "defaultActions", "the listener forwards to no target group", "Forward to the gateway's group."
        )


def has_targets(world: World, group: Resource) -> Iterator[Closed]:
    """Whether anything registers with the group."""
    arn = group.outputs.get("arn") or group.id
    services = world.graph.of("aws:ecs/service:Service")
    named = {one.get("targetGroupArn") for found in services for one in found.props.get("loadBalancers") or ()}
    if arn not in named and not world.graph.of("aws:lb/targetGroupAttachment:TargetGroupAttachment"):
        yield Closed(group, "", "nothing registers with the target group", "Name it in the service's loadBalancers.")


def checked_port(group: Resource, entry: Mapping[str, Any]) -> int | None:
    """The port of the health check: the target's own unless one is named."""
    port = (group.props.get("healthCheck") or {}).get("port", "traffic-port")
    return int(port) if str(port).isdigit() else entry.get("containerPort")


def fits(world: World, group: Resource, target: Registered) -> Iterator[Closed]:
    """Whether the group can hold the tasks, and the container listens on the port that it names."""
    if group.props.get("targetType") not in ("ip", None) and target.place.groups is not None:
        yield Closed(group, "targetType", "tasks with their own address are targets of type ip only", "Set it to ip.")
    vpc = vpc_routes.vpc_of(world, target.place.subnets)
    if vpc and group.props.get("vpcId") and group.props.get("vpcId") != vpc.id:
        yield Closed(group, "vpcId", "the target group is of another VPC than the tasks", "Use the tasks' VPC.")
    named = next((one for one in target.containers if one.get("name") == target.entry.get("containerName")), None)
    ports = {one.get("containerPort") for one in (named or {}).get("portMappings") or ()}
    if target.containers and target.entry.get("containerPort") not in ports:
        yield Closed(
            target.service,
            "loadBalancers",
            f"the container does not publish port {target.entry.get('containerPort')}",
            "Name a port of the container's portMappings.",
        )


def reaches(world: World, balancer: Resource, target: Registered, port: int | None) -> Iterator[Closed]:
    """Whether packets of the load balancer reach the tasks: it talks to them from its own subnets."""
    if port is None:
        return
    out = tuple(balancer.props.get("securityGroups") or ())
    tasks = vpc_routes.subnet_ranges(world, target.place.subnets)
    source = vpc_routes.subnet_ranges(world, balancer.props.get("subnets") or ())
    inside = target.place.groups or ()
    yield from groups_allow(world, out, "egress", Peer(tasks, frozenset(inside)), port)
    yield from groups_allow(world, inside, "ingress", Peer(source, frozenset(out)), port)
    yield from lists_allow(world, target.place.subnets, "ingress", source, port)
