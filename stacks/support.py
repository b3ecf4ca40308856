"""Which combinations of cluster, burst and DNS are supported, what each one uses, and why others are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Literal

from components.burst.site import BurstSite
from components.burst.sites import SITES

ClusterKind = Literal["eks", "aks", "existing"]
DnsProvider = Literal["route53", "traffic_manager"]
SiteKind = BurstSite | type[BurstSite]
"""A site of a stack, or what is true of all of its kind."""

CLUSTERS: tuple[ClusterKind, ...] = ("eks", "aks", "existing")
PROVIDERS: tuple[DnsProvider, ...] = ("route53", "traffic_manager")


@dataclass(frozen=True)
class Cell:
    """One combination. ``refused`` says why it is not supported and what to choose instead; then the rest is empty.

    ``burst``: the sites' keys, in spill order. ``standby``: where the second gateway runs. ``queue``: where P2 waits.
    ``cost_function``: where the live cost signal is computed. ``identity``: how the private gateway gets AWS
    credentials. ``secrets``: where gateway keys are kept.
    """

    cluster: ClusterKind
    burst: tuple[str, ...]
    dns: DnsProvider
    standby: str = ""
    queue: str = ""
    cost_function: str = ""
    identity: str = ""
    secrets: str = ""
    refused: str | None = None

    @property
    def burst_said(self) -> str:
        """The sites in words."""
        return " and ".join(self.burst) or "none"


_IDENTITY = {
    "eks": "service-account tokens, the cluster's own OIDC issuer",
    "aks": "service-account tokens, the cluster's OIDC issuer federated to AWS",
    "existing": "service-account tokens of a federated OIDC issuer",
}


def cell(cluster: ClusterKind, burst: Sequence[SiteKind], dns: DnsProvider, kinds: Sequence[SiteKind] = SITES) -> Cell:
    """The row of the support table for one combination. ``burst``: in spill order; ``kinds``: the sites there are."""
    names = tuple(site.name for site in burst)
    refused = _refusal(cluster, burst, dns, kinds)
    if refused:
        return Cell(cluster, names, dns, refused=refused)
    return Cell(
        cluster,
        names,
        dns,
        standby="Fargate behind a load balancer",
        queue=", then ".join(site.queue for site in burst),
        cost_function="AWS Lambda, each minute",
        identity=_IDENTITY[cluster],
        secrets="Kubernetes Secret beside the private gateway, Secrets Manager beside the standby",
    )


def _refusal(
    cluster: ClusterKind, burst: Sequence[SiteKind], dns: DnsProvider, kinds: Sequence[SiteKind]
) -> str | None:
    if not burst:
        return f"there is nowhere to spill; set {_keys(kinds)}"
    in_azure = [kind for kind in kinds if kind.account == "azure"]
    if dns == "traffic_manager" and cluster != "aks" and not any(site.account == "azure" for site in burst):
        return (
            "Traffic Manager would need an Azure subscription for DNS alone; use dns.provider: route53, "
            f"or add {_keys(in_azure)}"
        )
    return None


def _keys(kinds: Sequence[SiteKind]) -> str:
    return " or ".join(f"burst.{kind.name}" for kind in kinds)


def table(kinds: Sequence[SiteKind] = SITES) -> list[Cell]:
    """Every combination: no site, each alone, and together."""
    bursts = chain.from_iterable(combinations(kinds, size) for size in range(len(kinds) + 1))
    return [cell(c, b, d, kinds) for c, b, d in product(CLUSTERS, list(bursts), PROVIDERS)]
