"""The private cluster: how it is reached, what it trusts, and what fits on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from components.cost_guard.settings import instance_price
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.contracts.prices import PriceError
from spillway.contracts.problems import Problem, key_of
from stacks.pricing import private_machines
from stacks.settings import StackSettings


def _existing_cluster_is_federated(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if isinstance(settings.private_cluster, ExistingSettings) and not settings.connectivity.federation.oidc_issuer:
        advice = (
            "pods of an existing cluster need AWS credentials: give oidc_issuer.url, the cluster's issuer of "
            "service-account tokens"
        )
        yield Problem(key_of("connectivity.federation"), "nothing", advice)


def _own_cluster_is_not_federated(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if settings.connectivity.federation.oidc_issuer and not isinstance(settings.private_cluster, ExistingSettings):
        advice = f"the issuer of kind: {settings.private_cluster.kind} is known; remove it, or use kind: existing"
        yield Problem(key_of("connectivity.federation.oidc_issuer"), "a value", advice)


def _gpus_of_a_node(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """What is counted with has to be what the machine has."""
    cluster = settings.private_cluster
    if isinstance(cluster, ExistingSettings):
        return
    nodes = private_machines(settings)
    assert nodes is not None
    try:
        _, gpus = instance_price(settings.cost_guard, nodes.cloud, nodes.instance_type, nodes.region)
    except PriceError:
        return
    given = cluster.gpu_pool.gpus_per_node
    if given != gpus:
        yield Problem(key_of("private_cluster.gpu_pool.gpus_per_node"), str(given), f"{nodes.instance_type} has {gpus}")


def _deployer_reaches_the_cluster(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    given, there = settings.connectivity.deployer, settings.connectivity.azure_network
    match settings.private_cluster:
        case EksSettings() if given == "own_network":
            advice = "the stack's VPC is routed to no network of yours; use tunnel, in_vpc_runner or authorised_cidrs"
            yield Problem(key_of("connectivity.deployer"), given, advice)
        case AksSettings() if given in ("tunnel", "in_vpc_runner"):
            advice = "the machine of that way stands in AWS; use authorised_cidrs with deployer_cidrs, or own_network"
            yield Problem(key_of("connectivity.deployer"), given, advice)
        case AksSettings() if given == "own_network" and not (
            settings.connectivity.vpn or there.existing_subnets or there.hub_vnet_id
        ):
            advice = (
                "nothing routes your network to the cluster's; give connectivity.vpn, connectivity.azure_network."
                "hub_vnet_id or existing_subnets, or use authorised_cidrs with deployer_cidrs"
            )
            yield Problem(key_of("connectivity.deployer"), given, advice)
        case _:
            pass


def _landing_zone_has_what_is_used(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster, there = settings.private_cluster, settings.connectivity.azure_network
    path = "connectivity.azure_network"
    routed = isinstance(cluster, AksSettings) and cluster.outbound == "userDefinedRouting"
    if routed and not there.firewall_address and not there.existing_subnets:
        advice = "userDefinedRouting needs a route to somewhere: give the firewall's address, or existing_subnets"
        yield Problem(key_of(f"{path}.firewall_address"), "nothing", advice)
    if (subnets := there.existing_subnets) is None:
        return
    if isinstance(cluster, AksSettings) and subnets.nodes is None:
        yield Problem(key_of(f"{path}.existing_subnets.nodes"), "nothing", "AKS's nodes need a subnet")
    if settings.model_store.upload_package and subnets.courier is None and any(s.account == "azure" for s in sites):
        advice = "the container that brings packages needs a subnet; or set model_store.upload_package: false"
        yield Problem(key_of(f"{path}.existing_subnets.courier"), "nothing", advice)
    if settings.connectivity.vpn is not None:
        advice = "a gateway would be put into a network that is there already; the hub has one: remove vpn"
        yield Problem(key_of("connectivity.vpn"), "a value", advice)


RULES = (
    _deployer_reaches_the_cluster,
    _landing_zone_has_what_is_used,
    _existing_cluster_is_federated,
    _own_cluster_is_not_federated,
    _gpus_of_a_node,
)
