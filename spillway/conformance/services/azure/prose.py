"""What only Azure's and the provider's documentation says of one resource."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.resources import UNKNOWN, Resource

_DOCS: Final = "https://learn.microsoft.com/en-us/azure"
_READ: Final = "2026-11-29"
_PRIVATE: Final = tuple(IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


@rule(
    "aks-outbound-type",
    "userDefinedRouting needs a route table with a way out on the nodes' subnet, none a registry to bootstrap from.",
    Source("AKS: customize cluster egress with outbound types", f"{_DOCS}/aks/egress-outboundtype", "2026-11-30"),
)
def _outbound(graph: Graph) -> Iterator[Found]:
    for cluster in graph.of("azure-native:containerservice:ManagedCluster"):
        kind = cluster.get("networkProfile.outboundType")
        if kind == "userDefinedRouting":
            for pool in items(cluster.get("agentPoolProfiles")):
                subnet = graph.named(pool.get("vnetSubnetID"), "azure-native:network:Subnet")
                if subnet is not None and subnet.get("routeTable") is None:
                    yield (
                        cluster,
                        "networkProfile.outboundType",
                        f"{subnet.name} has no route table: ExistingRouteTableNotAssociatedWithSubnet",
                        "Associate a route table with the subnet, or choose another `outbound`.",
                    )
                elif subnet is not None and not _leads_out(graph, subnet):
                    yield (
                        cluster,
                        "networkProfile.outboundType",
                        f"the route table of {subnet.name} has no route for 0.0.0.0/0 to a gateway or an appliance",
                        "Add one, or choose another `outbound`.",
                    )
        if kind == "none" and cluster.get("bootstrapProfile.artifactSource") not in ("Cache", UNKNOWN):
            yield (
                cluster,
                "networkProfile.outboundType",
                "nodes have no way out and no registry to start from (bootstrapProfile.artifactSource: Cache)",
                "Choose another `outbound`.",
            )


def _leads_out(graph: Graph, subnet: Resource) -> bool:
    """Of a route table that the plan makes, and whose routes are known."""
    table = graph.named(subnet.get("routeTable.id"), "azure-native:network:RouteTable")
    routes = table.get("routes") if table else UNKNOWN
    if routes is UNKNOWN:
        return True
    alone = [one.props for one in graph.of("azure-native:network:Route")]
    default = [one for one in (*items(routes), *alone) if one.get("addressPrefix") in ("0.0.0.0/0", UNKNOWN)]
    return any(one.get("nextHopType") != "Internet" for one in default)


@rule(
    "azure-storage-ip-rules",
    "A storage account's address rules are public addresses, or public ranges up to /30.",
    Source(
        "Azure Storage: guidelines and limitations of the firewall",
        f"{_DOCS}/storage/common/storage-network-security-limitations",
        _READ,
    ),
)
def _ip_rules(graph: Graph) -> Iterator[Found]:
    for account in graph.of("azure-native:storage:StorageAccount"):
        for index, each in enumerate(items(account.get("networkRuleSet.ipRules"))):
            address = each.get("iPAddressOrRange")
            if not isinstance(address, str):
                continue
            at = f"networkRuleSet.ipRules.{index}"
            if re.search(r"/3[12]$", address):
                remedy = "Write the addresses one by one, without a prefix."
                yield account, at, "a range of /31 or /32 is refused", remedy
            elif any(IPv4Network(address, strict=False).subnet_of(private) for private in _PRIVATE):
                remedy = "Let private networks in by the account's private endpoint."
                yield account, at, "a private range (RFC 1918) is refused", remedy


@rule(
    "azure-pods-own-identity",
    "Whoever shows a trusted token is the identity, with every role that it has.",
    Source(
        "Microsoft Entra: workload identity federation; Azure ML: user-assigned managed identity of a workspace",
        "https://learn.microsoft.com/en-us/entra/workload-id/workload-identity-federation",
        "2026-11-30",
    ),
)
def _own_identity(graph: Graph) -> Iterator[Found]:
    services = [
        *graph.of("azure-native:machinelearningservices:Workspace"),
        *graph.of("azure-native:containerservice:ManagedCluster"),
    ]
    for trust in graph.of("azure-native:managedidentity:FederatedIdentityCredential"):
        name = trust.get("resourceName")
        for service in services:
            ids = [service.get("primaryUserAssignedIdentity"), *_identities(service)]
            if isinstance(name, str) and name.lower() in {str(id_).rpartition("/")[2].lower() for id_ in ids}:
                yield (
                    trust,
                    "resourceName",
                    f"pods become the identity that {service.name} acts with: they may do all that the service may",
                    "Give the pods an identity of their own, with the one role that they need.",
                )


def _identities(service: Resource) -> list[str]:
    found = service.get("identity.userAssignedIdentities")
    return [str(id_) for id_ in found] if isinstance(found, dict | list | tuple) else []


@rule(
    "azure-budget-of-nodes",
    "AKS puts nodes, disks and load balancers into a resource group of its own; a budget counts what is in its scope.",
    Source(
        "AKS: core concepts, node resource group; Azure: understand and work with scopes",
        f"{_DOCS}/aks/core-aks-concepts",
        "2026-11-30",
    ),
)
def _budget_of_nodes(graph: Graph) -> Iterator[Found]:
    budgets = graph.of("azure-native:consumption:Budget", "azure-native:costmanagement:Budget")
    scopes = [str(one.get("scope")).lower().rstrip("/") for one in budgets]
    for cluster in graph.of("azure-native:containerservice:ManagedCluster") if budgets else ():
        home = str(cluster.id).lower().partition("/resourcegroups/")[0]
        group = cluster.get("nodeResourceGroup")
        seen = {home, f"{home}/resourcegroups/{str(group).lower()}"}
        if group is not UNKNOWN and cluster.id and not seen & set(scopes):
            yield (
                cluster,
                "nodeResourceGroup",
                "its nodes are billed in a group that no budget counts: the largest part of the bill has no backstop",
                "Add a budget on the subscription or on the nodes' group.",
            )


RULES: Final[tuple[Rule, ...]] = (_outbound, _ip_rules, _own_identity, _budget_of_nodes)
