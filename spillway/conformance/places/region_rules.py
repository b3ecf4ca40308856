"""What a region has: zones that an account may use, zone-redundant storage, GPU sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.prices import catalogue
from spillway.contracts.property_values import items, text, texts
from spillway.contracts.resources import Resource

_TABLE: Final = Path(__file__).with_name("regions.json")
_ACCOUNT: Final = "azure-native:storage:StorageAccount"


@cache
def table() -> dict[str, Any]:
    """The dated table of regions, ``regions.json`` beside this module."""
    return json.loads(_TABLE.read_text(encoding="utf-8"))


def _zones(graph: Graph) -> Iterator[Finding]:
    missing = table()["aws"]["missing_zones"]
    for subnet in graph.of("aws:ec2/subnet:Subnet"):
        zone = text(subnet.get("availabilityZone"))
        region, letter = zone[:-1], zone[-1:]
        if letter not in missing.get(region, ()):
            continue
        yield Finding(
            "ec2-zone-of-the-account",
            subnet,
            "availabilityZone",
            f"the subnet would be refused: accounts of today have no {zone}",
            "Name three zones of your account in `spillway:connectivity.zones`"
            f" (`aws ec2 describe-availability-zones --region {region}`), or take another region.",
        )


def _zone_redundant(graph: Graph) -> Iterator[Finding]:
    azure = table()["azure"]
    for account in graph.of(_ACCOUNT):
        location = text(account.get("location"))
        known = {*azure["zrs"], *azure["zones_but_zrs_not_listed"]}
        if location and text(account.get("sku.name")).endswith("_ZRS") and location not in known:
            yield Finding(
                "azure-zrs-of-the-location",
                account,
                "sku.name",
                f"would be refused: {location} has no zone-redundant storage",
                "Take a location that has it, or an account without.",
            )


def _sold(graph: Graph) -> Iterator[Finding]:
    """Azure's list is whole; those of AWS in the catalogue are not, and say nothing by a gap."""
    for deployment in graph.of("azure-native:machinelearningservices:OnlineDeployment"):
        size, location = text(deployment.get("properties.instanceType")), text(deployment.get("location"))
        sold = _sold_in()
        if size in sold and any(location in places for places in sold.values()) and location not in sold[size]:
            yield Finding(
                "azure-gpu-of-the-location",
                deployment,
                "properties.instanceType",
                f"Azure's price list has this size in other locations, and not in {location}: it is not sold there",
                "Take a size that is (`spillway prices`), or another location.",
            )


def _zonal(graph: Graph) -> Iterator[Finding]:
    """Regions with zone-redundant storage are those with three zones."""
    azure = table()["azure"]
    known = {*azure["zrs"], *azure["zones_but_zrs_not_listed"]}
    for resource, path in _zoned(graph):
        location = text(resource.get("location"))
        if location and location not in known:
            yield Finding(
                "azure-zones-of-the-location",
                resource,
                path,
                f"would be refused: {location} has no availability zones",
                "Take a location that has some, or a resource without zones.",
            )


def _zoned(graph: Graph) -> Iterator[tuple[Resource, str]]:
    """What names zones, and where."""
    for address in graph.of("azure-native:network:PublicIPAddress"):
        if texts(address.get("zones")):
            yield address, "zones"
    for gateway in graph.of("azure-native:network:VirtualNetworkGateway"):
        if text(gateway.get("sku.name")).endswith("AZ"):
            yield gateway, "sku.name"
    for registry in graph.of("azure-native:containerregistry:Registry"):
        if registry.get("zoneRedundancy") == "Enabled":
            yield registry, "zoneRedundancy"
    for cluster in graph.of("azure-native:containerservice:ManagedCluster"):
        for index, pool in enumerate(items(cluster.get("agentPoolProfiles"))):
            if texts(pool.get("availabilityZones")):
                yield cluster, f"agentPoolProfiles.{index}.availabilityZones"


@cache
def _sold_in() -> dict[str, set[str]]:
    """Azure size → locations whose price list has it."""
    found: dict[str, set[str]] = {}
    for price in catalogue():
        if price.cloud == "azure":
            found.setdefault(price.instance_type, set()).add(price.region)
    return found


RULES: Final = (
    Rule(
        "ec2-zone-of-the-account",
        "Not every account has each letter of a region's zones.",
        Source(
            "AWS Availability Zones",
            "https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html",
            "2026-11-29",
        ),
        _zones,
    ),
    Rule(
        "azure-zrs-of-the-location",
        "Zone-redundant storage exists in some of Azure's regions.",
        Source(
            "Azure regions that support zone-redundant storage",
            "https://learn.microsoft.com/azure/storage/common/redundancy-regions-zrs",
            "2026-11-29",
        ),
        _zone_redundant,
    ),
    Rule(
        "azure-zones-of-the-location",
        "Zones are named where the region has some.",
        Source("Azure regions list", "https://learn.microsoft.com/azure/reliability/regions-list", "2026-11-29"),
        _zonal,
    ),
    Rule(
        "azure-gpu-of-the-location",
        "A GPU size is sold where Azure's price list has it.",
        Source(
            "Azure Retail Prices API, as in karpenter-provider-azure's generated price list",
            "https://github.com/Azure/karpenter-provider-azure/blob/main/pkg/providers/pricing/zz_generated.pricing.go",
            "2026-06-18",
        ),
        _sold,
    ),
)
