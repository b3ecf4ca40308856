"""Private endpoints of Azure: their names, and the way to them from inside and outside their network.

A service's public name is a CNAME into a ``privatelink`` zone; who asks a resolver that sees the zone gets the private
address, everybody else the public one, which refuses where public access is off
(https://learn.microsoft.com/azure/private-link/private-endpoint-dns, read 2026-11-29). From another network it takes a
rule that forwards the name to a resolver in the endpoint's network, a way there, and a way back
(https://learn.microsoft.com/azure/dns/private-resolver-hybrid-dns,
https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resolver-forwarding-outbound-queries.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network
from typing import Any, Final

from spillway.conformance.flows.addresses import ranges, told, uncovered
from spillway.conformance.flows.doors import azure_firewalls, vpc_routes
from spillway.conformance.flows.doors.vpc_endpoints import Place
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

ENDPOINT: Final = "azure-native:network:PrivateEndpoint"
CONNECTION: Final = "azure-native:network:VirtualNetworkGatewayConnection"
_GROUP: Final = "azure-native:network:PrivateDnsZoneGroup"
_LINK: Final = "azure-native:privatedns:VirtualNetworkLink"
_ZONE: Final = "azure-native:privatedns:PrivateZone"
_HTTPS: Final = 443

ZONES: Final[dict[str, tuple[str, ...]]] = {
    "blob": ("privatelink.blob.core.windows.net",),
    "file": ("privatelink.file.core.windows.net",),
    "queue": ("privatelink.queue.core.windows.net",),
    "table": ("privatelink.table.core.windows.net",),
    "vault": ("privatelink.vaultcore.azure.net",),
    "registry": ("privatelink.azurecr.io",),
}
"""What is linked → the zones that its names lead into. What is not here is left to the zones that the plan makes."""


def endpoint_of(world: World, target: Any, group: str) -> Resource | None:
    """The private endpoint of a resource, by its ID and what of it is linked."""
    for found in world.graph.of(ENDPOINT):
        for link in found.props.get("privateLinkServiceConnections") or ():
            same = str(link.get("privateLinkServiceId")).lower() == str(target).lower()
            if same and group in (link.get("groupIds") or ()):
                return found
    return None


def group_of(endpoint: Resource) -> str:
    return str(endpoint.get("privateLinkServiceConnections.0.groupIds.0"))


def network_id(world: World, endpoint: Resource) -> str:
    """The network that an endpoint stands in."""
    return str(endpoint.get("subnet.id")).lower().partition("/subnets/")[0]


def resolves(world: World, endpoint: Resource, network: str | None = None) -> Iterator[Closed]:
    """Whether the resolver of ``network``, by default the endpoint's own, gives out the private address."""
    network = network or network_id(world, endpoint)
    groups = [one for one in world.graph.of(_GROUP) if _is_of(one, endpoint)]
    ids = _zone_ids(groups)
    if not ids and not _in_landing_zone(world, network_id(world, endpoint)):
        yield Closed(
            endpoint,
            "",
            "no DNS zone group writes the private endpoint's address into a zone, so its name leads to the public one",
            "Add a PrivateDnsZoneGroup with the service's privatelink zone.",
        )
    names = {id_.rpartition("/")[2].lower() for id_ in ids}
    for wanted in ZONES.get(group_of(endpoint), ()):
        if ids and wanted not in names:
            yield Closed(
                groups[0],
                "privateDnsZoneConfigs",
                f"the zone group does not hold {wanted}, into which the service's name leads",
                f"Put {wanted} into the zone group.",
            )
    for id_ in ids:
        yield from _linked(world, id_, network)


def _in_landing_zone(world: World, network: str) -> bool:
    """Whether the network is its owner's or hangs on a hub: there a policy may write the records, which no plan tells
    (https://learn.microsoft.com/azure/cloud-adoption-framework/ready/azure-best-practices/private-link-and-dns-integration-at-scale)."""
    made = world.by_id(network, azure_firewalls.NETWORK)
    hubs = world.graph.of("azure-native:network:VirtualNetworkPeering")
    return made is None or any(one.props.get("virtualNetworkName") == made.get("virtualNetworkName") for one in hubs)


def _zone_ids(groups: list[Resource]) -> list[str]:
    configs = [config for one in groups for config in one.props.get("privateDnsZoneConfigs") or ()]
    return [str(config.get("privateDnsZoneId")) for config in configs]


def _zones(world: World, endpoint: Resource) -> list[str]:
    """The names of the zones that the endpoint's address is written into."""
    groups = [one for one in world.graph.of(_GROUP) if _is_of(one, endpoint)]
    return [id_.rpartition("/")[2].lower() for id_ in _zone_ids(groups)]


def _is_of(group: Resource, endpoint: Resource) -> bool:
    return group.props.get("privateEndpointName") == endpoint.props.get("privateEndpointName")


def _linked(world: World, zone_id: str, network: str) -> Iterator[Closed]:
    zone = world.by_id(zone_id, _ZONE)
    if zone is None:
        return  # A zone of the company, linked where the company wants it.
    links = [
        one for one in world.graph.of(_LINK) if one.props.get("privateZoneName") == zone.props.get("privateZoneName")
    ]
    if any(str(one.get("virtualNetwork.id")).lower() == network for one in links):
        return
    yield Closed(
        next(iter(links), zone),
        "virtualNetwork.id" if links else "",
        "the private zone is not linked to the network, whose resolver therefore does not see it",
        "Link the zone to the network.",
    )


def admits(world: World, endpoint: Resource, peers: tuple[IPv4Network, ...]) -> Iterator[Closed]:
    """Whether the security group of the endpoint's subnet lets the peers in."""
    subnet = world.by_id(endpoint.get("subnet.id"), azure_firewalls.SUBNET)
    if subnet and subnet.props.get("privateEndpointNetworkPolicies") != "Disabled":
        to = str(subnet.props.get("addressPrefix"))
        yield from azure_firewalls.admits(world, subnet, peers, to, _HTTPS)


def from_inside(world: World, endpoint: Resource) -> list[Door]:
    """The doors between the endpoint's own network and the endpoint."""
    network = world.by_id(network_id(world, endpoint), azure_firewalls.NETWORK)
    own = ranges(network.get("addressSpace.addressPrefixes")) if network else ()
    return [
        Door("private zone", partial(resolves, world, endpoint)),
        Door("network security group", partial(admits, world, endpoint, own)),
    ]


def from_vpc(world: World, place: Place, endpoint: Resource, host: str) -> list[Door]:
    """The doors between a place in AWS and a private endpoint in Azure."""
    vpc = vpc_routes.vpc_of(world, place.subnets)
    whole = ranges(vpc.props.get("cidrBlock")) if vpc else ()
    return [
        Door("names across the clouds", partial(_forwarded, world, vpc, endpoint, host)),
        Door("private zone", partial(resolves, world, endpoint)),
        Door("VPN of the VPC", partial(vpc_routes.site_to_site, world, place.subnets)),
        Door("VPN of the virtual network", partial(_returns, world, endpoint, whole)),
        Door("network security group", partial(admits, world, endpoint, whole)),
    ]


def from_peer(world: World, endpoint: Resource) -> list[Door]:
    """The doors between the network at the other end of Azure's VPN and a private endpoint."""
    behind = peer_ranges(world)
    return [
        Door("VPN of the virtual network", partial(_connected, world, endpoint)),
        Door("network security group", partial(admits, world, endpoint, behind)),
    ]


def from_company(world: World, endpoint: Resource, company: tuple[IPv4Network, ...]) -> list[Door]:
    """The doors between the company's network, whose ranges other doors of the plan name, and a private endpoint."""
    return [
        Door("VPN of the virtual network", partial(_returns, world, endpoint, company)),
        Door("network security group", partial(admits, world, endpoint, company)),
    ]


def peer_ranges(world: World) -> tuple[IPv4Network, ...]:
    """What Azure knows to be behind its VPN."""
    peers = world.graph.of(azure_firewalls.PEER)
    return ranges([one for peer in peers for one in peer.get("localNetworkAddressSpace.addressPrefixes") or ()])


def _forwarded(world: World, vpc: Resource | None, endpoint: Resource, host: str) -> Iterator[Closed]:
    if vpc is None:
        return
    names = [host, *_zones(world, endpoint)]
    rules = world.graph.of("aws:route53/resolverRule:ResolverRule")
    joined = {
        one.props.get("resolverRuleId")
        for one in world.graph.of("aws:route53/resolverRuleAssociation:ResolverRuleAssociation")
        if one.props.get("vpcId") == vpc.id
    }
    for rule in rules:
        domain = str(rule.props.get("domainName")).rstrip(".")
        if rule.id in joined and any(name == domain or name.endswith(f".{domain}") for name in names):
            yield from _resolver(world, rule, endpoint)
            return
    yield Closed(
        vpc,
        "",
        f"no resolver rule of the VPC forwards {host} into the virtual network, so it resolves to the public address, "
        "which refuses",
        "Forward the name by a Route 53 outbound endpoint to an Azure DNS Private Resolver, or make the site public.",
    )


def _resolver(world: World, rule: Resource, endpoint: Resource) -> Iterator[Closed]:
    targets = ranges([str(one.get("ip")) for one in rule.props.get("targetIps") or ()])
    inside = azure_firewalls.network_ranges(world)
    if uncovered(targets, inside):
        return  # A resolver of the company; what it answers the plan does not say.
    if not world.graph.of("azure-native:dnsresolver:InboundEndpoint", "azure-native:network:InboundEndpoint"):
        yield Closed(
            rule, "targetIps", "no DNS resolver of the virtual network answers there", "Add an inbound endpoint."
        )


def _connected(world: World, endpoint: Resource) -> Iterator[Closed]:
    connections = world.graph.of(CONNECTION)
    if not connections:
        gateway = next(iter(world.graph.of("azure-native:network:VirtualNetworkGateway")), None)
        yield Closed(
            gateway or endpoint,
            "" if gateway else "subnet",
            "no VPN connects the private endpoint's network with the caller's, and public access is off",
            "Connect the networks (connectivity.vpn), or set connectivity.burst_egress to public_with_key.",
        )


def _returns(world: World, endpoint: Resource, callers: tuple[IPv4Network, ...]) -> Iterator[Closed]:
    connections = world.graph.of(CONNECTION)
    if not connections:
        yield from _connected(world, endpoint)
        return
    if any(one.props.get("enableBgp") for one in connections):
        return  # Learnt; the plan does not say what.
    left = uncovered(callers, peer_ranges(world))
    if left:
        peer = next(iter(world.graph.of(azure_firewalls.PEER)), None)
        yield Closed(
            peer or connections[0],
            "localNetworkAddressSpace.addressPrefixes",
            f"Azure has no way back to {told(left)}: the address is not behind its VPN",
            "Name the VPC's range in the local network gateway, or use BGP.",
        )
