"""Load balancers that a Service of the cluster asks for, and the address that pods see behind them.

AWS: the annotation ``aws-load-balancer-type: external`` leaves the Service to the AWS Load Balancer Controller
(https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/), which finds subnets by tag
(https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/subnet_discovery/). Of targets by address
over TCP, client addresses are kept only where ``preserve_client_ip.enabled`` says so
(https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html).
All read 2026-11-29.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network
from typing import Any, Final

from spillway.conformance.flows.addresses import ranges, told, uncovered
from spillway.conformance.flows.doors import azure_firewalls, cluster_services, pod_policies, vpc_routes
from spillway.conformance.flows.doors.firewalls import lists_allow
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.workloads import CHART, Pod
from spillway.conformance.flows.world import World
from spillway.conformance.graph import chart_of
from spillway.contracts import health_checkers
from spillway.contracts.resources import UNKNOWN, Resource

_PREFIX: Final = "service.beta.kubernetes.io/aws-load-balancer-"
_CONTROLLER: Final = "aws-load-balancer-controller"
_AZURE_INTERNAL: Final = "service.beta.kubernetes.io/azure-load-balancer-internal"


def annotation(service: Resource, name: str) -> Any:
    """An annotation of the AWS load balancer, by the end of its name."""
    return (service.get("metadata.annotations") or {}).get(f"{_PREFIX}{name}")


def has_service(world: World, pod: Pod) -> Iterator[Closed]:
    """Whether a Service for clients leads to a gateway's pods, whatever its port."""
    for service in world.graph.of(cluster_services.SERVICE):
        kinds = ("LoadBalancer", "NodePort")
        if service.get("spec.type") in kinds and pod in cluster_services.behind(world, service):
            return
    yield Closed(pod.resource, "", "no Service for clients leads to the gateway's pods", "Make a LoadBalancer Service.")


def client_doors(world: World, service: Resource, port: int, clients: tuple[IPv4Network, ...]) -> tuple[Door, ...]:
    """Between clients and the pods."""
    doors = [Door("Service's source ranges", partial(_source_ranges, service, clients))]
    if world.eks:
        doors += _balancer(world, service, inbound=True)
        seen = clients if kept(service) else _own(world, service)
    else:
        doors += azure_firewalls.to_service(world, service, clients, port) if world.aks else []
        seen = clients if service.get("spec.externalTrafficPolicy") == "Local" else ()
    return (*doors, *_to_pods(world, service, port, seen))


def check_doors(world: World, service: Resource, port: int) -> tuple[Door, ...]:
    """Between the load balancer's health checks and the pods; they come from its own addresses."""
    if not world.eks:
        return ()
    return (*_balancer(world, service, inbound=False), *_to_pods(world, service, port, _own(world, service)))


def checker_doors(world: World, service: Resource, port: int, asked: Resource) -> tuple[Door, ...]:
    """Between Route 53's health checkers, which stand in the Internet, and the pods. ``asked``: the health check."""
    return (
        Door("health check", partial(_asks_in_the_internet, service, port, asked)),
        *client_doors(world, service, port, ranges(list(health_checkers.RANGES))),
    )


def _asks_in_the_internet(service: Resource, port: int, asked: Resource) -> Iterator[Closed]:
    if asked.get("port") not in (None, UNKNOWN, port):
        remedy = f"Let it ask {port}."
        yield Closed(asked, "port", f"it asks another port than {port}, at which the gateway is called", remedy)
    azure = (service.get("metadata.annotations") or {}).get(_AZURE_INTERNAL)
    if annotation(service, "scheme") == "internal" or azure == "true":
        yield Closed(
            asked,
            "type",
            "Route 53 asks from the Internet, and the gateway's load balancer is internal: it is called dead for ever",
            "Let the health check follow an alarm.",
        )


def kept(service: Resource) -> bool:
    """Whether pods see the clients' own addresses."""
    attributes = str(annotation(service, "target-group-attributes") or "").replace(" ", "").split(",")
    by_address = annotation(service, "nlb-target-type") == "ip"
    if by_address:
        return "preserve_client_ip.enabled=true" in attributes
    return service.get("spec.externalTrafficPolicy") == "Local"


def _source_ranges(service: Resource, clients: tuple[IPv4Network, ...]) -> Iterator[Closed]:
    named = service.get("spec.loadBalancerSourceRanges")
    left = uncovered(clients, ranges(named)) if named else []
    if left:
        yield Closed(
            service,
            "spec.loadBalancerSourceRanges",
            f"the load balancer drops callers of {told(left)}, whom the plan means or another of its gateways admits",
            "Name the same client ranges at every gateway, and Route 53's checkers where they ask; client_cidrs sets"
            " the first.",
        )


def _balancer(world: World, service: Resource, *, inbound: bool) -> list[Door]:
    doors = [
        Door("load balancer controller", partial(_controller, world, service)),
        Door("load balancer's subnets", partial(_has_subnets, world, service)),
    ]
    outside = annotation(service, "scheme") == "internet-facing"
    if inbound and outside:
        ids = [subnet.id for subnet in _subnets(world, service)]
        doors.append(Door("way from the Internet", partial(vpc_routes.internet, world, ids, inbound=True)))
    return doors


def _controller(world: World, service: Resource) -> Iterator[Closed]:
    charts = {chart_of(release) for release in world.graph.of(CHART)}
    if annotation(service, "type") in ("external", "nlb-ip") and _CONTROLLER not in charts:
        yield Closed(
            service,
            f"metadata.annotations.{_PREFIX}type",
            "the Service leaves its load balancer to the AWS Load Balancer Controller, which nothing installs, so it "
            "never gets an address",
            "Install the chart aws-load-balancer-controller before the Service.",
        )


def _subnets(world: World, service: Resource) -> list[Resource]:
    outside = annotation(service, "scheme") == "internet-facing"
    tag = "kubernetes.io/role/elb" if outside else "kubernetes.io/role/internal-elb"
    found = world.graph.of(vpc_routes.SUBNET)
    # Where no subnet has a tag of this kind, the controller takes those that are reachable as the scheme wants.
    tagged = any(key.startswith("kubernetes.io/role/") for one in found for key in one.props.get("tags") or {})
    return [one for one in found if (one.props.get("tags") or {}).get(tag) in ("1", "")] if tagged else found


def _has_subnets(world: World, service: Resource) -> Iterator[Closed]:
    if world.graph.of(vpc_routes.SUBNET) and not _subnets(world, service):
        yield Closed(service, "", "no subnet has the tag by which the load balancer finds its own", "Tag the subnets.")


def _own(world: World, service: Resource) -> tuple[IPv4Network, ...]:
    return vpc_routes.subnet_ranges(world, [subnet.id for subnet in _subnets(world, service)])


def _to_pods(world: World, service: Resource, port: int, seen: tuple[IPv4Network, ...]) -> tuple[Door, ...]:
    doors = [Door("Service", partial(cluster_services.leads, world, service, port))]
    for pod in cluster_services.behind(world, service):
        number = cluster_services.target_port(service, pod, port)
        if number is not None and seen:
            peer = pod_policies.Peer(ranges=seen)
            doors += [
                Door("network ACL", partial(lists_allow, world, world.node_subnets, "ingress", seen, number)),
                Door("NetworkPolicy in", partial(pod_policies.allow, world, pod, "ingress", peer, number)),
            ]
    return tuple(doors)
