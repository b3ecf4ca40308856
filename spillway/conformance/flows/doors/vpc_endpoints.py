"""The way from a VPC to an API of AWS: an interface or gateway endpoint with its policy, else the Internet.

An interface endpoint with private DNS takes the service's name over for the whole VPC, which needs the VPC's DNS
support and hostnames (https://docs.aws.amazon.com/vpc/latest/privatelink/privatelink-access-aws-services.html).
A gateway endpoint takes S3's addresses over for the route tables that it names
(https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from spillway.conformance.flows import documents
from spillway.conformance.flows.addresses import ANYWHERE, ranges
from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import vpc_routes
from spillway.conformance.flows.doors.firewalls import Peer, groups_allow, lists_allow
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

ENDPOINT: Final = "aws:ec2/vpcEndpoint:VpcEndpoint"
_HTTPS: Final = 443


@dataclass(frozen=True)
class Place:
    """Where in a VPC a flow begins. ``groups``: its security groups; ``None`` where AWS makes one that lets all out."""

    subnets: tuple[str, ...]
    groups: tuple[str, ...] | None = None


def api(world: World, place: Place, service: str, calls: Sequence[Call]) -> list[Door]:
    """The doors between a place and an API, such as ``sts`` or ``ecr.dkr``."""
    return [
        Door("names in the VPC", partial(vpc_routes.resolver, world, place.subnets)),
        Door(f"way to {service}", partial(_way, world, place, service)),
        Door(f"endpoint policy of {service}", partial(_policy, world, place, service, calls)),
    ]


def internet(world: World, place: Place, port: int = _HTTPS) -> list[Door]:
    """The doors between a place and a public name."""
    return [
        Door("names in the VPC", partial(vpc_routes.resolver, world, place.subnets)),
        Door("way to the Internet", partial(_out, world, place, port)),
    ]


def _out(world: World, place: Place, port: int) -> Iterator[Closed]:
    yield from groups_allow(world, place.groups or (), "egress", Peer((ANYWHERE,)), port)
    yield from lists_allow(world, place.subnets, "egress", (ANYWHERE,), port)
    yield from vpc_routes.internet(world, place.subnets)


def service_of(host: str, region: str) -> str | None:
    """The service of a regional name of AWS, as endpoints spell it: ``api.ecr.…`` is ``ecr.api``."""
    suffix = f".{region}.amazonaws.com"
    return ".".join(reversed(host.removesuffix(suffix).split("."))) if host.endswith(suffix) else None


def endpoint_of(world: World, vpc: Resource | None, service: str) -> Resource | None:
    """The endpoint of a service in a VPC."""
    return next(
        (
            found
            for found in world.graph.of(ENDPOINT)
            if vpc
            and found.props.get("vpcId") == vpc.id
            and str(found.props.get("serviceName")).endswith(f".{world.region}.{service}")
        ),
        None,
    )


def _taken_over(world: World, place: Place, service: str) -> Resource | None:
    """The endpoint that calls of this place go through, or ``None`` where they go to the public addresses."""
    vpc = vpc_routes.vpc_of(world, place.subnets)
    endpoint = endpoint_of(world, vpc, service)
    if endpoint is None or vpc is None:
        return None
    if endpoint.props.get("vpcEndpointType") == "Gateway":
        tables = [vpc_routes.table_of(world, one) for one in vpc_routes.subnets(world, place.subnets)]
        named = endpoint.props.get("routeTableIds") or ()
        return endpoint if any(table and table.id in named for table in tables) else None
    private = endpoint.props.get("privateDnsEnabled") and vpc.props.get("enableDnsHostnames")
    return endpoint if private else None


def _way(world: World, place: Place, service: str) -> Iterator[Closed]:
    endpoint = _taken_over(world, place, service)
    if endpoint is None:
        yield from _out(world, place, _HTTPS)
    elif endpoint.props.get("vpcEndpointType") == "Gateway":
        yield from _by_prefix_list(world, place, endpoint)
    else:
        yield from _by_interface(world, place, endpoint)


def _by_prefix_list(world: World, place: Place, endpoint: Resource) -> Iterator[Closed]:
    lists = frozenset([endpoint.outputs.get("prefixListId")])
    yield from groups_allow(world, place.groups or (), "egress", Peer((ANYWHERE,), prefix_lists=lists), _HTTPS)
    yield from lists_allow(world, place.subnets, "egress", (ANYWHERE,), _HTTPS)
    named = endpoint.props.get("routeTableIds") or ()
    for subnet in vpc_routes.subnets(world, place.subnets):
        table = vpc_routes.table_of(world, subnet)
        if table is None or table.id not in named:
            yield from vpc_routes.internet(world, [subnet.id])


def _by_interface(world: World, place: Place, endpoint: Resource) -> Iterator[Closed]:
    vpc = vpc_routes.vpc_of(world, place.subnets)
    whole = ranges(vpc.props.get("cidrBlock")) if vpc else ()
    at = vpc_routes.subnet_ranges(world, endpoint.props.get("subnetIds") or ()) or whole
    inside = frozenset(endpoint.props.get("securityGroupIds") or ())
    yield from groups_allow(world, place.groups or (), "egress", Peer(at, inside), _HTTPS)
    yield from lists_allow(world, place.subnets, "egress", at, _HTTPS)
    if not endpoint.props.get("subnetIds"):
        yield Closed(
            endpoint, "subnetIds", "the interface endpoint stands in no subnet", "Put it into each private subnet."
        )
    yield from admits(
        world, endpoint, Peer(vpc_routes.subnet_ranges(world, place.subnets), frozenset(place.groups or ()))
    )


def admits(world: World, endpoint: Resource, peer: Peer) -> Iterator[Closed]:
    """Whether an interface endpoint's own security groups let the peer in."""
    yield from groups_allow(world, endpoint.props.get("securityGroupIds") or (), "ingress", peer, _HTTPS)
    yield from lists_allow(world, endpoint.props.get("subnetIds") or (), "ingress", peer.ranges, _HTTPS)


def _policy(world: World, place: Place, service: str, calls: Iterable[Call]) -> Iterator[Closed]:
    if endpoint := _taken_over(world, place, service):
        yield from passes(endpoint, calls)


def passes(endpoint: Resource, calls: Iterable[Call]) -> Iterator[Closed]:
    """Whether an endpoint's policy lets the calls through; without a policy it lets all."""
    document = endpoint.props.get("policy")
    if not isinstance(document, str):
        return
    for call in calls:
        if documents.denies(document, call) or not documents.allows(document, call):
            yield Closed(
                endpoint,
                "policy",
                f"the endpoint's policy lets {call.action} on {call.resource} not through",
                "Add a statement for it to the endpoint's policy.",
            )


def caller_context(account: Any) -> dict[str, str | None]:
    """What a call that one of the account's roles signs states of itself."""
    return {"aws:PrincipalAccount": str(account), "aws:SecureTransport": "true"}
