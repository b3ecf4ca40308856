"""Networks of all parts against each other: those that are routed, those that a cluster keeps inside itself, and those
that a provider keeps for itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Final

from components.burst.site import BurstSite
from components.private_cluster.settings import AksSettings, EksSettings
from spillway.contracts.problems import Problem, key_of
from stacks.settings import StackSettings

_OF_AKS: Final = ("169.254.0.0/16", "172.30.0.0/16", "172.31.0.0/16", "192.0.2.0/24")
"""Which services, pods and network of a cluster may not take: learn.microsoft.com/azure/aks/configure-kubenet."""


def _inside_and_outside_are_apart(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """What a pod sends to an address of its own cluster's ranges never leaves the cluster."""
    inner = _inner(settings)
    for index, (key, cidr) in enumerate(inner):
        for other, taken in [*_routed(settings), *inner[:index]]:
            if IPv4Network(cidr).overlaps(IPv4Network(taken)):
                advice = f"it overlaps {other} {taken}, which pods could not reach then; choose ranges apart"
                yield Problem(key_of(key), repr(cidr), advice)


def _aks_keeps_its_own(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if not isinstance(settings.private_cluster, AksSettings):
        return
    for key, cidr in (*_inner(settings), ("connectivity.vnet_cidr", settings.connectivity.vnet_cidr)):
        for taken in _OF_AKS:
            if IPv4Network(cidr).overlaps(IPv4Network(taken)):
                yield Problem(key_of(key), repr(cidr), f"AKS keeps {taken} for itself; choose a range apart from it")


def _inner(settings: StackSettings) -> list[tuple[str, str]]:
    """Ranges of a cluster of the stack's own, whether the file names them or not."""
    cluster = settings.private_cluster
    if isinstance(cluster, EksSettings):
        return [("private_cluster.service_cidr", cluster.service_cidr)]
    if isinstance(cluster, AksSettings):
        pods = ("private_cluster.pod_cidr", cluster.pod_cidr)
        return [pods, ("private_cluster.service_cidr", cluster.service_cidr)]
    return []


def _routed(settings: StackSettings) -> list[tuple[str, str]]:
    connectivity = settings.connectivity
    peers = connectivity.vpn.peer_cidrs if connectivity.vpn else ()
    own = [("connectivity.vpc_cidr", connectivity.vpc_cidr), ("connectivity.vnet_cidr", connectivity.vnet_cidr)]
    return [*own, *(("connectivity.vpn.peer_cidrs", cidr) for cidr in peers)]


RULES = (_inside_and_outside_are_apart, _aks_keeps_its_own)
