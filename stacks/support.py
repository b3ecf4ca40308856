"""Which combinations of cluster, burst and DNS are supported, what each one uses, and why others are refused."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

ClusterKind = Literal["eks", "aks", "existing"]
BurstKind = Literal["none", "sagemaker", "azure_ml", "both"]
DnsProvider = Literal["route53", "traffic_manager"]

CLUSTERS: tuple[ClusterKind, ...] = ("eks", "aks", "existing")
BURSTS: tuple[BurstKind, ...] = ("none", "sagemaker", "azure_ml", "both")
PROVIDERS: tuple[DnsProvider, ...] = ("route53", "traffic_manager")


@dataclass(frozen=True)
class Cell:
    """One combination. ``refused`` says why it is not supported and what to choose instead; then the rest is empty.

    ``standby``: where the second gateway runs. ``queue``: where P2 waits. ``cost_function``: where the live cost signal
    is computed. ``identity``: how the private gateway gets AWS credentials. ``secrets``: where gateway keys are kept.
    """

    cluster: ClusterKind
    burst: BurstKind
    dns: DnsProvider
    standby: str = ""
    queue: str = ""
    cost_function: str = ""
    identity: str = ""
    secrets: str = ""
    refused: str | None = None


_IDENTITY = {
    "eks": "service-account tokens, the cluster's own OIDC issuer",
    "aks": "service-account tokens, the cluster's OIDC issuer federated to AWS",
    "existing": "service-account tokens of a federated OIDC issuer, or IAM Roles Anywhere",
}
_QUEUE = {
    "sagemaker": "SageMaker asynchronous endpoint",
    "azure_ml": "Azure ML batch endpoint",
    "both": "SageMaker asynchronous endpoint, then Azure ML batch endpoint",
}


def cell(cluster: ClusterKind, burst: BurstKind, dns: DnsProvider) -> Cell:
    """The row of the support table for one combination."""
    refused = _refusal(cluster, burst, dns)
    if refused:
        return Cell(cluster, burst, dns, refused=refused)
    return Cell(
        cluster,
        burst,
        dns,
        standby="Fargate behind a load balancer",
        queue=_QUEUE[burst],
        cost_function="AWS Lambda, each minute",
        identity=_IDENTITY[cluster],
        secrets="Kubernetes Secret beside the private gateway, Secrets Manager beside the standby",
    )


def _refusal(cluster: ClusterKind, burst: BurstKind, dns: DnsProvider) -> str | None:
    if burst == "none":
        return "there is nowhere to spill; set burst.sagemaker or burst.azure_ml"
    if dns == "traffic_manager" and burst == "sagemaker" and cluster != "aks":
        return (
            "Traffic Manager would need an Azure subscription for DNS alone; use dns.provider: route53, "
            "or add burst.azure_ml"
        )
    return None


def table() -> list[Cell]:
    """Every combination."""
    return [cell(c, b, d) for c, b, d in product(CLUSTERS, BURSTS, PROVIDERS)]
