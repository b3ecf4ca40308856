"""Private names: the company's network → resolver and endpoints of the VPC, networks → private endpoints of Azure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network
from typing import Any, Final

from spillway.conformance.flows.addresses import covered, ranges
from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import firewalls, private_links, vpc_endpoints, vpc_routes
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import SERVICE, gateways, place_of
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource

_RESOLVER: Final = "aws:route53/resolverEndpoint:ResolverEndpoint"


def flows(world: World) -> Iterator[Flow]:
    company = _company(world)
    resolvers = [one for one in world.graph.of(_RESOLVER) if one.props.get("direction") == "INBOUND"]
    for resolver in resolvers:
        yield from _to_resolver(world, resolver, company)
    if company and world.graph.of(vpc_routes.CONNECTION):
        yield from _to_endpoints(world, company)
        for vpc in world.graph.of(vpc_routes.VPC) if not resolvers else ():
            yield Flow("company's network", "resolver", "udp/53", (Door("resolver", partial(_unresolved, vpc)),))
    yield from _to_peers(world)
    for endpoint in world.graph.of(private_links.ENDPOINT):
        name = f"{endpoint.name} ({private_links.group_of(endpoint)})"
        yield Flow("virtual network", name, "tcp/443", tuple(private_links.from_inside(world, endpoint)))
        if world.graph.of(private_links.CONNECTION):
            doors = private_links.from_company(world, endpoint, company)
            yield Flow("company's network", name, "tcp/443", tuple(doors))


def _to_peers(world: World) -> Iterator[Flow]:
    """Tasks of a gateway count each other behind a name that their service keeps."""
    for gateway in gateways(world):
        peers, place = gateway.table.get("peers"), gateway.caller.place
        if not peers or gateway.caller.pod or place is None:
            continue
        doors = (
            Door("the name's registry", partial(_kept, world, gateway.caller.resource, str(peers.get("host")))),
            Door("names in the VPC", partial(vpc_routes.resolver, world, place.subnets)),
        )
        yield Flow(gateway.caller.name, "its tasks' name", "udp/53", doors)


def _kept(world: World, task: Resource, host: str) -> Iterator[Closed]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-discovery.html"""
    service = next(one for one in world.graph.of(SERVICE) if one.props.get("taskDefinition") in _ids(task))
    arn = (service.props.get("serviceRegistries") or {}).get("registryArn")
    registry = world.by_arn(arn, "aws:servicediscovery/service:Service")
    if registry is None:
        told = "its tasks look themselves up, and no registry keeps them"
        yield Closed(service, "serviceRegistries", told, "Name the registry's ARN.")
        return
    config = registry.props.get("dnsConfig") or {}
    namespace = world.by_id(config.get("namespaceId"), "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace")
    if namespace and f"{registry.props.get('name')}.{namespace.props.get('name')}" != host:
        yield Closed(registry, "name", "its tasks look another name up", "Give both one name.")
    if config.get("routingPolicy") != "MULTIVALUE":
        told = "an answer has one address, however many tasks there are"
        yield Closed(registry, "dnsConfig.routingPolicy", told, "Set it to MULTIVALUE.")
    vpc = vpc_routes.vpc_of(world, place_of(service).subnets)
    if namespace and vpc and namespace.props.get("vpc") != vpc.id:
        yield Closed(namespace, "vpc", "the name is another VPC's", "Make it in the VPC of the tasks.")


def _ids(task: Resource) -> tuple[str | None, ...]:
    return task.outputs.get("arn"), task.id


def _to_resolver(world: World, resolver: Resource, company: tuple[IPv4Network, ...]) -> Iterator[Flow]:
    subnets = [str(one.get("subnetId")) for one in resolver.props.get("ipAddresses") or ()]
    groups = resolver.props.get("securityGroupIds") or ()
    peer = firewalls.Peer(company)
    for protocol in ("udp", "tcp"):
        allowed = partial(firewalls.groups_allow, world, groups, "ingress", peer, 53, protocol)
        doors = (
            Door("addresses", partial(_addresses, resolver, subnets)),
            Door("names in the VPC", partial(vpc_routes.resolver, world, subnets)),
            Door("way over the VPN", partial(vpc_routes.site_to_site, world, subnets)),
            Door("resolver's security group", allowed),
        )
        yield Flow("company's network", "resolver", f"{protocol}/53", doors)


def _addresses(resolver: Resource, subnets: list[str]) -> Iterator[Closed]:
    """https://docs.aws.amazon.com/Route53/latest/APIReference/API_route53resolver_CreateResolverEndpoint.html"""
    if len(subnets) < 2:
        yield Closed(resolver, "ipAddresses", "a resolver endpoint needs two addresses", "Give it two subnets.")


def _to_endpoints(world: World, company: tuple[IPv4Network, ...]) -> Iterator[Flow]:
    """Whoever stands beyond the VPN calls APIs through the VPC's endpoints, as a role of the account."""
    for endpoint in world.graph.of(vpc_endpoints.ENDPOINT):
        if endpoint.props.get("vpcEndpointType") != "Interface":
            continue
        service = str(endpoint.props.get("serviceName")).rpartition(f"{world.region}.")[2]
        call = Call(f"{service.partition('.')[0]}:any", "*", vpc_endpoints.caller_context(world.account))
        ids = endpoint.props.get("subnetIds") or ()
        doors = (
            Door("way over the VPN", partial(vpc_routes.site_to_site, world, ids)),
            Door("endpoint's security group", partial(vpc_endpoints.admits, world, endpoint, firewalls.Peer(company))),
            Door("endpoint policy", partial(vpc_endpoints.passes, endpoint, [call])),
        )
        yield Flow("company's network", service, "tcp/443", doors)


def _company(world: World) -> tuple[IPv4Network, ...]:
    """Every range beyond the VPNs that one of the plan's doors names: of resolvers, of endpoints, of Azure's VPN."""
    own = ranges([one.props.get("cidrBlock") for one in world.graph.of(vpc_routes.VPC)])
    named: list[Any] = [str(one) for one in private_links.peer_ranges(world)]
    holders = [*world.graph.of(vpc_endpoints.ENDPOINT), *world.graph.of(_RESOLVER)]
    for id_ in dict.fromkeys(str(id_) for one in holders for id_ in one.props.get("securityGroupIds") or ()):
        group = world.by_id(id_, firewalls.GROUP)
        for rule in (group.props.get("ingress") or ()) if group else ():
            named += rule.get("cidrBlocks") or ()
    return tuple(one for one in dict.fromkeys(ranges(named)) if not covered(one, own))


def _unresolved(vpc: Resource) -> Iterator[Closed]:
    yield Closed(
        vpc,
        "",
        "the VPC's endpoints let the network beyond the VPN in, which cannot resolve their names: no resolver answers",
        "Add an inbound resolver endpoint; connectivity.vpn makes it.",
    )


FAMILY: Final = Family(
    "flow-names",
    "Private names are resolved where they are asked for, and lead to endpoints that let the asker in",
    Source(
        "Azure: private endpoint DNS zone values",
        "https://learn.microsoft.com/azure/private-link/private-endpoint-dns",
        "2026-11-29",
    ),
    flows,
)
