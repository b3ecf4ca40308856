"""Clients: name, load balancer, gateway, and the health checks that keep it in service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.addresses import ranges
from spillway.conformance.flows.doors import cluster_balancers as balancers
from spillway.conformance.flows.doors import cluster_services, public_names, task_balancers, vpc_routes
from spillway.conformance.flows.doors.firewalls import Peer, groups_allow, lists_allow
from spillway.conformance.flows.flow import Door, Family, Flow
from spillway.conformance.flows.gateways import SERVICE, TASK, containers, gateways, place_of
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource


def flows(world: World) -> Iterator[Flow]:
    for service in world.graph.of(cluster_services.SERVICE):
        if service.get("spec.type") == "LoadBalancer":
            yield from _to_pods(world, service)
    for listener in world.graph.of(task_balancers.LISTENER):
        yield from _to_tasks(world, listener)
    for balancer in world.graph.of(task_balancers.BALANCER):
        door = Door("listener", partial(task_balancers.listens, world, balancer))
        yield Flow("clients", balancer.name, "tcp/443", (door,))
    for gateway in gateways(world):
        if pod := gateway.caller.pod:
            door = Door("Service", partial(balancers.has_service, world, pod))
            yield Flow("clients", f"pods of {pod.name}", "tcp/443", (door,))
    for record in public_names.failover_records(world):
        yield Flow(
            f"clients ({record.props.get('setIdentifier')})",
            str(record.props.get("name")),
            "udp/53",
            _name(world, record),
        )


def _name(world: World, record: Resource) -> tuple[Door, ...]:
    return (
        Door("zone", partial(public_names.in_its_zone, world, record)),
        Door("record", partial(public_names.leads, world, record)),
        Door("failover", partial(public_names.paired, world, record)),
    )


def _to_pods(world: World, service: Resource) -> Iterator[Flow]:
    name = str(service.get("metadata.name"))
    for port in service.get("spec.ports") or ():
        number = port.get("port")
        doors = balancers.client_doors(world, service, number, public_names.clients(world))
        same = Door("port of the name", partial(public_names.one_port, world, service, number))
        yield Flow("clients", f"private {name}", f"tcp/{number}", (*doors, same))
        checks = balancers.check_doors(world, service, number)
        if checks:
            yield Flow("load balancer's health checks", f"private {name}", f"tcp/{number}", checks)
        for asked in public_names.asked_by_route53(world, service):
            outside = balancers.checker_doors(world, service, number, asked)
            yield Flow("Route 53's health checkers", f"private {name}", f"tcp/{number}", outside)


def _to_tasks(world: World, listener: Resource) -> Iterator[Flow]:
    balancer = world.by_arn(listener.props.get("loadBalancerArn"), task_balancers.BALANCER)
    if balancer is None:
        return
    port = int(listener.props.get("port") or 443)
    clients = public_names.clients(world)
    inbound = partial(vpc_routes.internet, world, balancer.props.get("subnets") or (), inbound=True)
    over = f"tcp/{port}"
    doors = [
        *([] if balancer.props.get("internal") else [Door("way from the Internet", inbound)]),
        Door("load balancer's security group", partial(_admits, world, balancer, clients, port)),
        Door("certificate", partial(public_names.certificate, world, listener)),
        *_behind(world, listener, balancer, None),
    ]
    yield Flow("clients", "standby gateway", over, tuple(doors))
    checks = _behind(world, listener, balancer, "healthCheck")
    yield Flow("load balancer's health checks", "standby gateway", over, tuple(checks))


def _admits(world: World, balancer: Resource, clients: Any, port: int) -> Iterator[Any]:
    peer = Peer(ranges(list(map(str, clients))))
    yield from groups_allow(world, balancer.props.get("securityGroups") or (), "ingress", peer, port)
    yield from lists_allow(world, balancer.props.get("subnets") or (), "ingress", peer.ranges, port)


def _behind(world: World, listener: Resource, balancer: Resource, check: str | None) -> list[Door]:
    """From the load balancer to the tasks; ``check``: on the port of the health check."""
    doors = [Door("listener", partial(task_balancers.forwards, world, listener))]
    for group in task_balancers.groups_of(world, listener):
        for service in world.graph.of(SERVICE):
            for target in service.props.get("loadBalancers") or ():
                if target.get("targetGroupArn") != (group.outputs.get("arn") or group.id):
                    continue
                task = world.by_arn(service.props.get("taskDefinition"), TASK)
                port = task_balancers.checked_port(group, target) if check else target.get("containerPort")
                here = task_balancers.Registered(service, place_of(service), containers(task) if task else [], target)
                doors += [
                    Door("target group", partial(task_balancers.fits, world, group, here)),
                    Door("to the tasks", partial(task_balancers.reaches, world, balancer, here, port)),
                ]
        doors.append(Door("targets", partial(task_balancers.has_targets, world, group)))
    return doors


FAMILY: Final = Family(
    "flow-clients",
    "Clients reach each gateway by its name, and its load balancer's health checks do",
    Source(
        "Elastic Load Balancing: target group attributes, client IP preservation",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html",
        "2026-11-29",
    ),
    flows,
)
