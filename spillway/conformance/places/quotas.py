"""The quotas that a plan needs, by the cloud's own code or name: at rest, at peak, and while a change runs.

Codes: https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html (each service's page) and
`aws service-quotas list-service-quotas`; names of SageMaker's and Azure's quotas are those of their own lists. Defaults
of new accounts are what the pages say. Read on 2026-11-29.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle.access import endpoint_config
from spillway.contracts.property_values import items, text

_FAMILIES: Final = {
    "p": ("L-417A185B", "L-7212CCBC", "P"),
    "g": ("L-DB2E81BA", "L-3819A6DF", "G and VT"),
    "vt": ("L-DB2E81BA", "L-3819A6DF", "G and VT"),
    "inf": ("L-1945791B", "L-B5D1601B", "Inf"),
    "trn": ("L-2C3B7624", "L-5480EFD2", "Trn"),
    "dl": ("L-6E869C2A", "L-85EED4F7", "DL"),
    "x": ("L-7295265B", "L-E3A00192", "X"),
    "f": ("L-74FC7D96", "L-88CF9481", "F"),
}
"""An EC2 type's letters → code on demand, code for spot, the quota's own word. Everything else counts as standard."""
_STANDARD: Final = ("L-1216C47A", "L-34B43A08", "Standard (A, C, D, H, I, M, R, T, Z)")
_SIZES: Final = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4}
_UNRESERVED: Final = 100
"""Executions that Lambda keeps free of reservations: the API model of PutFunctionConcurrency."""
_AZURE_FAMILIES: Final = (
    (re.compile(r"Standard_NC\d+as_T4_v3"), "standardNCASv3_T4Family"),
    (re.compile(r"Standard_NC\d+ads_A100_v4"), "StandardNCADSA100v4Family"),
    (re.compile(r"Standard_ND96amsr_A100_v4"), "standardNDAMSv4_A100Family"),
    (re.compile(r"Standard_NC\d+adi?s_H100_v5"), "StandardNCadsH100v5Family"),
    (re.compile(r"Standard_ND96isr_H100_v5"), "standardNDSH100v5Family"),
    (re.compile(r"Standard_NV\d+ads_A10_v5"), "StandardNVADSA10v5Family"),
)
_RESERVE: Final = 1.2
"""Azure ML keeps a fifth more for upgrades of managed online endpoints, but not of A100 and H100 sizes:
https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas."""


@dataclass(frozen=True)
class Need:
    """``code``: the quota's; empty where the cloud has one by ``quota`` alone. ``changing``: while an update runs two
    fleets or two sets of nodes at once, from rest."""

    service: str
    code: str
    quota: str
    region: str
    unit: str
    rest: float
    peak: float
    changing: float

    @property
    def most(self) -> float:
        return max(self.rest, self.peak, self.changing)


@dataclass(frozen=True)
class _Part:
    """What one resource needs of one quota."""

    service: str
    code: str
    quota: str
    unit: str
    region: str
    rest: float
    peak: float
    changing: float


def needs(graph: Graph) -> list[Need]:
    """Every quota that the plan touches, summed up. What is not known yet does not count."""
    found: dict[tuple[str, str, str, str], list[_Part]] = defaultdict(list)
    for part in _parts(graph):
        found[part.service, part.code, part.quota, part.region].append(part)
    return [
        Need(
            *key[:3],
            region=key[3],
            unit=parts[0].unit,
            rest=sum(part.rest for part in parts),
            peak=sum(part.peak for part in parts),
            changing=sum(part.changing for part in parts),
        )
        for key, parts in sorted(found.items())
    ]


def _parts(graph: Graph) -> Iterator[_Part]:
    yield from _nodes(graph)
    yield from _endpoints(graph)
    yield from _tasks(graph)
    yield from _counted(graph)
    yield from _reserved(graph)
    yield from _azure_ml(graph)
    yield from _azure_nodes(graph)


def vcpus(instance_type: str) -> int | None:
    """Of an EC2 type: two for ``large``, four for each ``xlarge``."""
    size = instance_type.rpartition(".")[2]
    if size in _SIZES:
        return _SIZES[size]
    match = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(match[1]) if match else None


def _nodes(graph: Graph) -> Iterator[_Part]:
    """A version's update adds up to two nodes a zone, another type is a second group beside the first:
    https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html."""
    for group in graph.of("aws:eks/nodeGroup:NodeGroup"):
        types = group.get("instanceTypes")
        type_ = text(types[0]) if isinstance(types, list) and types else ""
        size = group.get("scalingConfig")
        subnets = group.get("subnetIds")
        zones = len(subnets) if isinstance(subnets, list) else 1
        if not isinstance(size, dict) or not (each := vcpus(type_)):
            continue
        rest = max(_number(size.get("desiredSize")), _number(size.get("minSize")))
        changing = max(2 * rest, rest + 2 * zones)
        spot = group.get("capacityType") == "SPOT"
        yield _of_ec2(type_, group.region, spot, rest * each, _number(size.get("maxSize")) * each, changing * each)
    for host in graph.of("aws:ec2/instance:Instance"):
        template = graph.named(host.get("launchTemplate.id"), "aws:ec2/launchTemplate:LaunchTemplate")
        type_ = text(host.get("instanceType")) or text(template.get("instanceType") if template else "")
        if each := vcpus(type_):
            yield _of_ec2(type_, host.region, False, each, each, 2 * each)


def _of_ec2(type_: str, region: str, spot: bool, rest: float, peak: float, changing: float) -> _Part:
    letters = re.match(r"[a-z]+", type_)
    on_demand, for_spot, word = _FAMILIES.get(letters[0] if letters else "", _STANDARD)
    quota = f"All {word} Spot Instance Requests" if spot else f"Running On-Demand {word} instances"
    return _Part("ec2", for_spot if spot else on_demand, quota, "vCPU", region, rest, peak, changing)


def _endpoints(graph: Graph) -> Iterator[_Part]:
    """Blue/green starts a whole second fleet beside the first."""
    bounds = {text(t.get("resourceId")): t for t in graph.of("aws:appautoscaling/target:Target")}
    for endpoint in graph.of("aws:sagemaker/endpoint:Endpoint"):
        config = endpoint_config(graph, endpoint)
        for variant in items(config.get("productionVariants")) if config else ():
            type_ = text(variant.get("instanceType"))
            target = bounds.get(f"endpoint/{text(endpoint.get('name'))}/variant/{text(variant.get('variantName'))}")
            first = _number(variant.get("initialInstanceCount"))
            rest = _number(target.get("minCapacity")) if target else first
            peak = _number(target.get("maxCapacity")) if target else first
            # One instance runs at its creation, whatever the bounds say.
            rest = max(rest, first)
            quota = f"{type_} for endpoint usage"
            if type_:
                yield _Part("sagemaker", "", quota, "instances", endpoint.region, rest, max(peak, rest), 2 * rest)


def _tasks(graph: Graph) -> Iterator[_Part]:
    bounds = {text(t.get("resourceId")).rpartition("/")[2]: t for t in graph.of("aws:appautoscaling/target:Target")}
    for service in graph.of("aws:ecs/service:Service"):
        task = graph.named(service.get("taskDefinition"), "aws:ecs/taskDefinition:TaskDefinition")
        each = _number(task.get("cpu")) / 1024 if task else 0
        count = _number(service.get("desiredCount"))
        target = bounds.get(text(service.get("name")))
        peak = _number(target.get("maxCapacity")) if target else count
        most = _number(service.get("deploymentMaximumPercent") or 200) / 100
        quota = "Fargate On-Demand vCPU resource count"
        if each:
            yield _Part(
                "fargate", "L-3032A538", quota, "vCPU", service.region, count * each, peak * each, most * count * each
            )


_COUNTED: Final = (
    ("aws:ec2/eip:Eip", "ec2", "L-0263D0A3", "EC2-VPC Elastic IPs"),
    ("aws:ec2/vpc:Vpc", "vpc", "L-F678F1CE", "VPCs per Region"),
    ("aws:eks/cluster:Cluster", "eks", "L-1194D53C", "Clusters"),
    ("aws:lb/loadBalancer:LoadBalancer", "elasticloadbalancing", "L-53DA6B97", "Application Load Balancers per Region"),
)


def _counted(graph: Graph) -> Iterator[_Part]:
    """What counts by the piece. A change replaces none of them create-first."""
    for type_, service, code, quota in _COUNTED:
        for resource in graph.of(type_):
            if resource.get("loadBalancerType") != "network":
                yield _piece(service, code, quota, resource.region, 1)
    endpoints = [e for e in graph.of("aws:ec2/vpcEndpoint:VpcEndpoint") if e.get("vpcEndpointType") == "Interface"]
    for endpoint in endpoints:
        yield _piece("vpc", "L-29B6F2EB", "Interface VPC endpoints per VPC", endpoint.region, 1)
    zones: dict[str, int] = defaultdict(int)
    for gateway in graph.of("aws:ec2/natGateway:NatGateway"):
        home = graph.named(gateway.get("subnetId"), "aws:ec2/subnet:Subnet")
        zones[text(home.get("availabilityZone")) if home else ""] += 1
    if zones:
        region = graph.of("aws:ec2/natGateway:NatGateway")[0].region
        yield _piece("vpc", "L-FE5A380F", "NAT gateways per Availability Zone", region, max(zones.values()))


def _piece(service: str, code: str, quota: str, region: str, count: float) -> _Part:
    return _Part(service, code, quota, "pieces", region, count, count, count)


def _reserved(graph: Graph) -> Iterator[_Part]:
    """Reservations leave a hundred executions to all other functions, else PutFunctionConcurrency is refused."""
    held = [f for f in graph.of("aws:lambda/function:Function") if _number(f.get("reservedConcurrentExecutions")) > 0]
    total = sum(_number(function.get("reservedConcurrentExecutions")) for function in held)
    if held:
        needed = total + _UNRESERVED
        region = held[0].region
        yield _Part("lambda", "L-B99A9384", "Concurrent executions", "executions", region, needed, needed, needed)


def _azure_ml(graph: Graph) -> Iterator[_Part]:
    scales = {text(s.get("targetResourceUri")): s for s in graph.of("azure-native:monitor:AutoscaleSetting")}
    for deployment in graph.of("azure-native:machinelearningservices:OnlineDeployment"):
        size = text(deployment.get("properties.instanceType"))
        rest = _number(deployment.get("sku.capacity"))
        scale = scales.get(deployment.id or "")
        peaks = (
            [_number((p.get("capacity") or {}).get("maximum")) for p in items(scale.get("profiles"))] if scale else []
        )
        reserve = 1.0 if re.search(r"_(A100|H100)_", size) else _RESERVE
        counts = [math.ceil(reserve * count) for count in (rest, max([rest, *peaks]), rest)]
        yield from _of_azure_ml(size, text(deployment.get("location")), *counts)
    for cluster in graph.of("azure-native:machinelearningservices:Compute"):
        inner = "properties.properties."
        if cluster.get(f"{inner}vmPriority") == "LowPriority":
            continue
        low, high = (_number(cluster.get(f"{inner}scaleSettings.{key}")) for key in ("minNodeCount", "maxNodeCount"))
        yield from _of_azure_ml(text(cluster.get(f"{inner}vmSize")), text(cluster.get("location")), low, high, low)


def _of_azure_ml(size: str, location: str, rest: float, peak: float, changing: float) -> Iterator[_Part]:
    each = _cores(size)
    if each and (family := azure_family(size)):
        yield _Part(
            "Microsoft.MachineLearningServices",
            "",
            family,
            "cores",
            location,
            rest * each,
            peak * each,
            changing * each,
        )


def _azure_nodes(graph: Graph) -> Iterator[_Part]:
    """An upgrade of AKS adds its surge, one node unless it is told."""
    pools = [
        *((c.get("location"), p) for c in graph.of(_MANAGED) for p in items(c.get("agentPoolProfiles"))),
        *((None, pool.props) for pool in graph.of("azure-native:containerservice:AgentPool")),
    ]
    home = next((text(cluster.get("location")) for cluster in graph.of(_MANAGED)), "")
    for location, pool in pools:
        size = text(pool.get("vmSize"))
        rest = max(_number(pool.get("count")), _number(pool.get("minCount")))
        peak = max(rest, _number(pool.get("maxCount")))
        if (each := _cores(size)) and (family := azure_family(size)):
            surge = 0 if str((pool.get("upgradeSettings") or {}).get("maxSurge")) == "0" else 1
            sums = (rest * each, peak * each, (rest + surge) * each)
            yield _Part("Microsoft.Compute", "", family, "cores", text(location) or home, *sums)


_MANAGED: Final = "azure-native:containerservice:ManagedCluster"


def azure_family(size: str) -> str:
    """The quota that a GPU size of Azure counts in; empty for others."""
    return next((family for pattern, family in _AZURE_FAMILIES if pattern.fullmatch(size)), "")


def _cores(size: str) -> int:
    match = re.match(r"Standard_[A-Z]+(\d+)", size)
    return int(match[1]) if match else 0


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return 0.0
