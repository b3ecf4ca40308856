"""What only Azure VPN Gateway's documentation says of one resource."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, items, rule

_GATEWAY: Final = "azure-native:network:VirtualNetworkGateway"
_PEER: Final = "azure-native:network:LocalNetworkGateway"
_CONNECTION: Final = "azure-native:network:VirtualNetworkGatewayConnection"
_DOCS: Final = "https://learn.microsoft.com/en-us/azure/vpn-gateway"
_READ: Final = "2026-11-30"
_RESERVED: Final = frozenset({8074, 8075, 12076, 65515, *range(65517, 65521), 23456, *range(64496, 64512)})


@rule(
    "vpn-gateway-two-instances",
    "Two active instances of a VPN gateway have an IP configuration each, with an address of its own.",
    Source("Azure VPN Gateway: about active-active mode", f"{_DOCS}/about-active-active-gateways", _READ),
)
def _two_instances(graph: Graph) -> Iterator[Found]:
    for gateway in graph.of(_GATEWAY):
        addresses = {
            str((one.get("publicIPAddress") or {}).get("id")) for one in items(gateway.get("ipConfigurations"))
        }
        if gateway.get("activeActive") is True and len(addresses) < 2:
            yield (
                gateway,
                "ipConfigurations",
                f"has {len(addresses)} address for two active instances: it is refused",
                "Give each instance a public address, or leave activeActive out.",
            )


@rule(
    "vpn-gateway-bgp-numbers",
    "A device that speaks BGP with Azure has a number that is nobody else's, and an address inside the tunnels.",
    Source("Azure VPN Gateway: about BGP, and its FAQ", f"{_DOCS}/vpn-gateway-bgp-overview", _READ),
)
def _numbers(graph: Graph) -> Iterator[Found]:
    own = {gateway.get("bgpSettings.asn") for gateway in graph.of(_GATEWAY)} - {None}
    for peer in graph.of(_PEER):
        number, address = peer.get("bgpSettings.asn"), peer.get("bgpSettings.bgpPeeringAddress")
        if isinstance(number, int | float) and (int(number) in _RESERVED or number in own):
            yield (
                peer,
                "bgpSettings.asn",
                f"{number:g} is Azure's or reserved: it is refused",
                "Take another, e.g. 65010.",
            )
        if isinstance(address, str) and address == peer.get("gatewayIpAddress"):
            yield (
                peer,
                "bgpSettings.bgpPeeringAddress",
                "is the device's public address, which is outside the tunnels: no session comes up",
                "Give an address of the device inside its own networks.",
            )


@rule(
    "vpn-gateway-bgp-both-ends",
    "A connection learns routes where its gateway and its peer both speak BGP.",
    Source("Azure VPN Gateway: about BGP, and its FAQ", f"{_DOCS}/vpn-gateway-bgp-overview", _READ),
)
def _both_ends(graph: Graph) -> Iterator[Found]:
    speaks = any(peer.get("bgpSettings.bgpPeeringAddress") for peer in graph.of(_PEER))
    for connection in graph.of(_CONNECTION):
        if connection.get("enableBgp") is True and not speaks:
            yield (
                connection,
                "enableBgp",
                "learns routes from a peer without bgpSettings: it is refused",
                "Give the local network gateway bgpSettings, or leave enableBgp out.",
            )


RULES: Final[tuple[Rule, ...]] = (_two_instances, _numbers, _both_ends)
