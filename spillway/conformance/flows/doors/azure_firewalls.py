"""Network security groups of Azure.

The first rule by priority decides; default rules let the virtual network and Azure's load balancer in, and nobody else
(https://learn.microsoft.com/azure/virtual-network/network-security-groups-overview, read 2026-11-29). AKS' load
balancer uses floating addresses: a packet for a public Service still has the public frontend address as its destination
when the subnet's group sees it, which the tag VirtualNetwork does not hold (https://github.com/Azure/AKS/issues/674).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Network
from typing import Any, Final

from spillway.conformance.flows.addresses import ANYWHERE, covered, ranges
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

GROUP: Final = "azure-native:network:NetworkSecurityGroup"
SUBNET: Final = "azure-native:network:Subnet"
NETWORK: Final = "azure-native:network:VirtualNetwork"
PEER: Final = "azure-native:network:LocalNetworkGateway"
_INTERNAL: Final = "service.beta.kubernetes.io/azure-load-balancer-internal"

_DEFAULTS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "priority": 65000,
        "access": "Allow",
        "sourceAddressPrefix": "VirtualNetwork",
        "destinationAddressPrefix": "VirtualNetwork",
    },
    {"priority": 65001, "access": "Allow", "sourceAddressPrefix": "AzureLoadBalancer", "destinationAddressPrefix": "*"},
    {"priority": 65500, "access": "Deny", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*"},
)


def network_ranges(world: World) -> tuple[IPv4Network, ...]:
    """What the tag VirtualNetwork holds: the network's own ranges, and those behind its VPN."""
    found: list[Any] = []
    for one in world.graph.of(NETWORK):
        found += one.get("addressSpace.addressPrefixes") or ()
    for one in world.graph.of(PEER):
        found += one.get("localNetworkAddressSpace.addressPrefixes") or ()
    return ranges(found)


def group_of(world: World, subnet: Resource | None) -> Resource | None:
    return world.by_id(subnet.get("networkSecurityGroup.id"), GROUP) if subnet else None


def admits(world: World, subnet: Resource | None, peers: Iterable[IPv4Network], to: str, port: int) -> Iterator[Closed]:
    """Whether the subnet's group lets all peers in. ``to``: an address in the network, or ``public``."""
    group = group_of(world, subnet)
    if group is None:
        return
    for peer in peers:
        decisive = _decides(world, group, peer, to, port)
        if decisive.get("access") == "Deny":
            name = decisive.get("name")
            where = "a public frontend address" if to == "public" else "an address of the network"
            yield Closed(
                group,
                "securityRules",
                f"{'its rule ' + str(name) if name else 'its default rule'} drops tcp/{port} from {peer} to {where}",
                "Allow it by a rule of smaller priority, with the address that packets have when they get there.",
            )


def _decides(world: World, group: Resource, peer: IPv4Network, to: str, port: int) -> Mapping[str, Any]:
    own = [*(group.props.get("securityRules") or ())]
    for found in world.graph.of("azure-native:network:SecurityRule"):
        if found.props.get("networkSecurityGroupName") == group.props.get("networkSecurityGroupName"):
            own.append(found.props)
    inbound = [one for one in own if one.get("direction") == "Inbound"]
    for rule in sorted([*inbound, *_DEFAULTS], key=lambda one: one.get("priority") or 0):
        if _fits(world, rule, peer, to, port):
            return rule
    return _DEFAULTS[-1]


def _fits(world: World, rule: Mapping[str, Any], peer: IPv4Network, to: str, port: int) -> bool:
    if str(rule.get("protocol", "*")).lower() not in ("*", "tcp"):
        return False
    denying = rule.get("access") == "Deny"
    return (
        _port(rule, port)
        and any(_is_peer(world, one, peer, denying) for one in _both(rule, "sourceAddressPrefix"))
        and any(_is_target(world, one, to) for one in _both(rule, "destinationAddressPrefix"))
    )


def _both(rule: Mapping[str, Any], key: str) -> list[str]:
    plural = "es" if key.endswith("Prefix") else "s"
    single = [rule[key]] if rule.get(key) else []
    return [*single, *(rule.get(f"{key}{plural}") or ())]


def _port(rule: Mapping[str, Any], port: int) -> bool:
    for one in _both(rule, "destinationPortRange") or ["*"]:
        first, _, last = str(one).partition("-")
        if one == "*" or int(first) <= port <= int(last or first):
            return True
    return False


def _is_peer(world: World, named: str, peer: IPv4Network, denying: bool) -> bool:
    """A denial counts where it touches the peer, an allowance where it holds all of it."""
    inside = covered(peer, network_ranges(world))
    match named:
        case "*" | "0.0.0.0/0":
            return True
        case "VirtualNetwork":
            return inside
        case "Internet":
            return not inside and not peer.is_private
        case _:
            found = ranges([named])
            return any(one.overlaps(peer) for one in found) if denying else covered(peer, found)


def _is_target(world: World, named: str, to: str) -> bool:
    if named in ("*", "0.0.0.0/0"):
        return True
    if to == "public":
        # An address of the plan's own that is named is taken for the Service's.
        return bool(ranges([named])) and not any(covered(one, network_ranges(world)) for one in ranges([named]))
    found = network_ranges(world) if named == "VirtualNetwork" else ranges([named])
    return any(one.overlaps(two) for one in found for two in ranges([to]) or (ANYWHERE,))


def to_service(world: World, service: Resource, clients: tuple[IPv4Network, ...], port: int) -> list[Door]:
    """From clients to the nodes behind the load balancer of a Service in AKS."""
    pool = (world.aks.props.get("agentPoolProfiles") or [{}])[0] if world.aks else {}
    subnet = world.by_id(pool.get("vnetSubnetID"), SUBNET)
    internal = (service.get("metadata.annotations") or {}).get(_INTERNAL) == "true"
    to = str(subnet.get("addressPrefix")) if internal and subnet else "public"
    return [Door("network security group", partial(admits, world, subnet, clients, to, port))]
