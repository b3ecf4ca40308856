"""Route tables, NAT and internet gateways of a VPC.

A subnet without an association uses the VPC's main table, which has the local route alone:
https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final

from spillway.conformance.flows.addresses import ANYWHERE, ranges
from spillway.conformance.flows.flow import Closed
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

SUBNET: Final = "aws:ec2/subnet:Subnet"
VPC: Final = "aws:ec2/vpc:Vpc"
_TABLE: Final = "aws:ec2/routeTable:RouteTable"
_NAT: Final = "aws:ec2/natGateway:NatGateway"
_IGW: Final = "aws:ec2/internetGateway:InternetGateway"
CONNECTION: Final = "aws:ec2/vpnConnection:VpnConnection"
_TARGETS: Final = ("gatewayId", "natGatewayId", "transitGatewayId", "vpcPeeringConnectionId", "networkInterfaceId")


@dataclass(frozen=True)
class Hop:
    """One route: where it stands, and where it leads."""

    resource: Resource
    path: str
    to: IPv4Network
    kind: str
    target: Any


def subnets(world: World, ids: Iterable[Any]) -> list[Resource]:
    """Those that the plan makes."""
    return [found for id_ in ids if (found := world.by_id(id_, SUBNET))]


def vpc_of(world: World, ids: Iterable[Any]) -> Resource | None:
    """The VPC of the first subnet that the plan makes."""
    return next((world.by_id(found.props.get("vpcId"), VPC) for found in subnets(world, ids)), None)


def subnet_ranges(world: World, ids: Iterable[Any]) -> tuple[IPv4Network, ...]:
    return ranges([found.props.get("cidrBlock") for found in subnets(world, ids)])


def table_of(world: World, subnet: Resource) -> Resource | None:
    """The table that a subnet is associated with; ``None``: the main one, which the plan does not touch."""
    for found in world.graph.of("aws:ec2/routeTableAssociation:RouteTableAssociation"):
        if found.props.get("subnetId") == subnet.id:
            return world.by_id(found.props.get("routeTableId"), _TABLE)
    return None


def hops(world: World, table: Resource) -> Iterator[Hop]:
    """The routes of a table, its own and those that stand beside it."""
    for number, route in enumerate(table.props.get("routes") or ()):
        yield from _hop(table, f"routes.{number}", route, "cidrBlock")
    for found in world.graph.of("aws:ec2/route:Route"):
        if found.props.get("routeTableId") == table.id:
            yield from _hop(found, "destinationCidrBlock", found.props, "destinationCidrBlock")


def _hop(resource: Resource, path: str, route: Any, key: str) -> Iterator[Hop]:
    kind = next((name for name in _TARGETS if route.get(name)), "")
    for to in ranges(route.get(key)):
        yield Hop(resource, path, to, kind, route.get(kind))


def route_to(world: World, table: Resource, to: IPv4Network) -> Hop | None:
    """The most specific route that covers the range."""
    fitting = [hop for hop in hops(world, table) if to.subnet_of(hop.to)]
    return max(fitting, key=lambda hop: hop.to.prefixlen, default=None)


def internet(world: World, ids: Iterable[Any], *, inbound: bool = False) -> Iterator[Closed]:
    """Whether each subnet reaches the Internet; ``inbound``: by an internet gateway, so that it is reached as well."""
    for subnet in subnets(world, ids):
        table = table_of(world, subnet)
        if table is None:
            yield Closed(
                subnet,
                "",
                "the subnet is associated with no route table of the plan, so it has the local route alone",
                "Associate it with a route table that has a default route.",
            )
            continue
        hop = route_to(world, table, ANYWHERE)
        if hop is None:
            yield Closed(
                table,
                "routes",
                f"the route table of {subnet.name} has no default route",
                "Add a route for 0.0.0.0/0; connectivity.nat makes it for private subnets.",
            )
        elif hop.kind == "natGatewayId" and not inbound:
            yield from _through_nat(world, hop)
        else:
            yield from _through_gateway(world, hop, subnet, inbound)


def _through_gateway(world: World, hop: Hop, subnet: Resource, inbound: bool) -> Iterator[Closed]:
    if hop.kind in ("transitGatewayId", "vpcPeeringConnectionId", "networkInterfaceId"):
        return  # A firewall or another network of the company leads on; the plan does not say where.
    gateway = world.by_id(hop.target)
    if gateway is None and hop.target:
        return  # Made elsewhere.
    if gateway is None or gateway.type != _IGW:
        yield Closed(
            hop.resource,
            hop.path,
            f"the default route of {subnet.name} leads to no internet gateway",
            "Let 0.0.0.0/0 of a public subnet lead to the VPC's internet gateway.",
        )
    elif gateway.props.get("vpcId") != subnet.props.get("vpcId"):
        yield Closed(gateway, "vpcId", "the internet gateway is attached to another VPC", "Attach it to this VPC.")
    elif not inbound and subnet.props.get("mapPublicIpOnLaunch") is False:
        # A table that serves NAT gateways is a public one: then the subnet is in the wrong table.
        public = any(_shares(world, nat, subnet) for nat in world.graph.of(_NAT))
        yield Closed(
            subnet if public else hop.resource,
            "mapPublicIpOnLaunch" if public else hop.path,
            f"route {hop.resource.name} leads the subnet straight to the internet gateway, and what stands in the "
            "subnet has no public address",
            "Let the default route of a private subnet lead to a NAT gateway.",
        )


def _shares(world: World, nat: Resource, subnet: Resource) -> bool:
    """Whether a NAT gateway's subnet uses the same route table as the subnet."""
    own = table_of(world, subnet)
    return any(table_of(world, one) is own for one in subnets(world, [nat.props.get("subnetId")]))


def _through_nat(world: World, hop: Hop) -> Iterator[Closed]:
    nat = world.by_id(hop.target, _NAT)
    if nat is None:
        return
    if nat.props.get("connectivityType") == "private":
        yield Closed(nat, "connectivityType", "a private NAT gateway leads to no public address", "Make it public.")
    elif not nat.props.get("allocationId"):
        yield Closed(nat, "allocationId", "the NAT gateway has no public address", "Give it an Elastic IP.")
    elif _behind_nat(world, nat):
        yield Closed(nat, "subnetId", "the NAT gateway stands in a private subnet", "Put it into a public one.")
    else:
        yield from internet(world, [nat.props.get("subnetId")], inbound=True)


def _behind_nat(world: World, nat: Resource) -> bool:
    """Whether a NAT gateway's own subnet leaves by a NAT gateway."""
    for subnet in subnets(world, [nat.props.get("subnetId")]):
        table = table_of(world, subnet)
        hop = route_to(world, table, ANYWHERE) if table else None
        if hop and hop.kind == "natGatewayId":
            return True
    return False


def resolver(world: World, ids: Iterable[Any]) -> Iterator[Closed]:
    """Whether the VPC answers DNS queries at all."""
    vpc = vpc_of(world, ids)
    if vpc and vpc.props.get("enableDnsSupport") is False:
        yield Closed(
            vpc,
            "enableDnsSupport",
            "the VPC's resolver is switched off, so no name is resolved in it",
            "Set enableDnsSupport to true.",
        )


def site_to_site(world: World, ids: Iterable[Any]) -> Iterator[Closed]:
    """Whether each subnet has a way to and from the network at the other end of the VPC's VPN."""
    vpc = vpc_of(world, ids)
    gateways = [one for one in world.graph.of("aws:ec2/vpnGateway:VpnGateway") if vpc and _joins(one, vpc)]
    gateway = next(iter(gateways), None)
    if vpc is None:
        return
    if gateway is None:
        loose = next(iter(world.graph.of("aws:ec2/vpnGateway:VpnGateway")), None)
        where = (loose, "vpcId") if loose else (vpc, "")
        yield Closed(*where, "no VPN gateway is attached to the VPC", "Attach one; connectivity.vpn makes it.")
        return
    connections = [one for one in world.graph.of(CONNECTION) if one.props.get("vpnGatewayId") == gateway.id]
    if not connections:
        loose = next(iter(world.graph.of(CONNECTION)), None)
        where = (loose, "vpnGatewayId") if loose else (gateway, "")
        yield Closed(*where, "no VPN connection ends at the gateway", "Add one; connectivity.vpn makes it.")
    yield from _returns(world, ids, gateway)


def _joins(gateway: Resource, vpc: Resource) -> bool:
    return gateway.props.get("vpcId") == vpc.id


def _returns(world: World, ids: Iterable[Any], gateway: Resource) -> Iterator[Closed]:
    spread = world.graph.of("aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation")
    for subnet in subnets(world, ids):
        table = table_of(world, subnet)
        if table is None:
            yield Closed(subnet, "", "the subnet is associated with no route table of the plan", "Associate it.")
            continue
        learnt = any(
            one.props.get("routeTableId") == table.id and one.props.get("vpnGatewayId") == gateway.id for one in spread
        )
        learnt = learnt or gateway.id in (table.props.get("propagatingVgws") or ())
        if not learnt and not any(hop.target == gateway.id for hop in hops(world, table)):
            yield Closed(
                table,
                "",
                f"the route table of {subnet.name} learns no route from the VPN gateway, so answers have no way back",
                "Propagate the VPN gateway's routes to the table.",
            )
