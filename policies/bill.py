"""What a stack costs at rest, line by line, before it is deployed: from the resources of its plan, at list prices.

What is paid by use (requests, bytes, logs) has no line: it is named below the bill. Nothing here is a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.resources import Stack, entries, number
from policies.rules.capacity import LAUNCH_TEMPLATE, MANAGED_CLUSTER, NODE_GROUP, Machines, location, machines
from spillway.contracts.prices import HOURS_PER_MONTH, PriceError, find_price
from spillway.contracts.property_values import items, text, texts
from spillway.contracts.resources import Resource
from spillway.contracts.standing import HOME, standing


@dataclass(frozen=True)
class Line:
    """Things of one kind. ``usd_per_hour``: of one, ``None`` where nobody knows it; ``least`` and ``most``: how many
    there are at rest and with every autoscaler at its maximum. ``estimate``: another region's price."""

    what: str
    place: str
    usd_per_hour: float | None
    least: float
    most: float
    source: str
    estimate: bool = False

    def month(self, count: float) -> float:
        """US dollars a month of so many."""
        return (self.usd_per_hour or 0.0) * count * HOURS_PER_MONTH


@dataclass(frozen=True)
class Bill:
    """``lines``: the dearest first. ``by_use``: what besides is paid by use, in words."""

    lines: tuple[Line, ...]
    by_use: tuple[str, ...]

    @property
    def month(self) -> float:
        return sum(line.month(line.least) for line in self.lines)

    @property
    def month_at_peak(self) -> float:
        return sum(line.month(line.most) for line in self.lines)

    @property
    def unknown(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.usd_per_hour is None)


BY_USE: Final = {
    "aws:s3/bucket:Bucket": "S3: storage and requests",
    "aws:s3/bucketV2:BucketV2": "S3: storage and requests",
    "aws:lambda/function:Function": "Lambda: runs",
    "aws:cloudwatch/logGroup:LogGroup": "CloudWatch: logs and Spillway's own metrics",
    "aws:sns/topic:Topic": "SNS: notices",
    "aws:sqs/queue:Queue": "SQS: requests",
    "aws:ec2/natGateway:NatGateway": "NAT gateways and endpoints: bytes that pass",
    "aws:ec2/vpc:Vpc": "traffic between clouds and to clients",
    "azure-native:storage:StorageAccount": "Azure Storage: storage and requests",
    "azure-native:operationalinsights:Workspace": "Log Analytics: logs taken in",
    "azure-native:keyvault:Vault": "Key Vault: operations",
    "azure-native:containerinstance:ContainerGroup": "Container Instances: the seconds that copies of the package take",
    "azure-native:machinelearningservices:Workspace": "the workspace: its managed network's private endpoints",
}
"""By resource type."""


def bill_at_rest(stack: Stack, own: Iterable[Line] = ()) -> Bill:
    """``own``: machines that are paid for and are no resource of the plan, as a cluster of one's own."""
    found: dict[tuple[str, str, float | None], Line] = {}
    # A launch template alone runs nothing.
    paid = (one for one in machines(stack) if one.resource.type != LAUNCH_TEMPLATE)
    for line in [*own, *(_of_machines(stack, one) for one in paid), *_standing(stack)]:
        key = line.what, line.place, line.usd_per_hour
        held = found.get(key)
        found[key] = line if held is None else replace(held, least=held.least + line.least, most=held.most + line.most)
    lines = sorted((line for line in found.values() if line.most), key=lambda line: -line.month(line.most))
    used = dict.fromkeys(words for type_, words in BY_USE.items() if stack.of(type_))
    return Bill(tuple(lines), tuple(used))


def _of_machines(stack: Stack, one: Machines) -> Line:
    own = stack.context.prices.get(f"{one.cloud}/{one.instance_type}/{one.region}")
    usd, source, estimate = (own, "cost_guard.prices", False) if own is not None else _listed(one)
    least = one.least or 0.0
    most = least if one.most is None else one.most
    return Line(f"{one.instance_type} ({one.cloud})", one.region, usd, least, most, source, estimate)


def _listed(one: Machines) -> tuple[float | None, str, bool]:
    try:
        price = find_price(one.cloud, one.instance_type, one.region)
    except PriceError:
        small = standing(f"{one.cloud} {one.instance_type}")
        if small is None:
            key = f"cost_guard.prices: {one.cloud}/{one.instance_type}/{one.region}"
            return None, f"not known; give it under {key}", False
        return small.usd_per_hour, small.source, one.region != HOME[one.cloud]
    return price.usd_per_hour, price.source, price.basis == "scaled"


Count = Callable[[Stack, Resource], float]


def _one(stack: Stack, resource: Resource) -> float:
    return 1.0


def _subnets(stack: Stack, endpoint: Resource) -> float:
    """An interface endpoint is paid in each zone; one for S3 costs nothing as a gateway."""
    if text(endpoint.get("vpcEndpointType")) != "Interface":
        return 0.0
    return float(len(texts(endpoint.get("subnetIds"))) or 1)


def _published(stack: Stack, service: Resource) -> float:
    """A load balancer stands behind a Kubernetes Service that asks for one."""
    return float(text(service.get("spec.type")) == "LoadBalancer")


def _premium(stack: Stack, registry: Resource) -> float:
    return float(text(registry.get("sku.name")) == "Premium")


def _paid_control(stack: Stack, cluster: Resource) -> float:
    return float(text(cluster.get("sku.tier")) == "Standard")


def _criteria(stack: Stack, alert: Resource) -> float:
    return float(len(entries(alert.get("criteria.allOf"))) or 1)


def _rules(stack: Stack, acl: Resource) -> float:
    return float(len(items(acl.get("rules"))))


def _gigabytes(stack: Stack, group: Resource) -> float:
    """Disks of a node group as it starts."""
    template = stack.named(group.get("launchTemplate.id"), LAUNCH_TEMPLATE)
    disk = number(template.get("blockDeviceMappings.0.ebs.volumeSize")) if template else number(group.get("diskSize"))
    return (disk or 0.0) * (number(group.get("scalingConfig.desiredSize")) or 0.0)


def _vcpus(stack: Stack, service: Resource) -> float:
    return _of_task(stack, service, "cpu")


def _task_gb(stack: Stack, service: Resource) -> float:
    return _of_task(stack, service, "memory")


def _of_task(stack: Stack, service: Resource, key: str) -> float:
    """Fargate's tasks: CPUs and memory are counted in 1024ths, of one CPU and one GB."""
    task = stack.named(service.get("taskDefinition"), "aws:ecs/taskDefinition:TaskDefinition")
    return (number(task.get(key)) or 0.0) / 1024 * (number(service.get("desiredCount")) or 1.0) if task else 0.0


_AWS, _AZURE = "aws", "azure"
STANDING: Final[tuple[tuple[str, str, str, Count], ...]] = (
    (_AWS, "aws:ec2/natGateway:NatGateway", "nat gateway", _one),
    (_AWS, "aws:eks/cluster:Cluster", "eks cluster", _one),
    (_AWS, "aws:ec2/vpcEndpoint:VpcEndpoint", "interface endpoint", _subnets),
    (_AWS, "aws:ec2/vpnConnection:VpnConnection", "vpn connection", _one),
    (_AWS, "aws:lb/loadBalancer:LoadBalancer", "load balancer", _one),
    (_AWS, "aws:ecs/service:Service", "fargate vcpu", _vcpus),
    (_AWS, "aws:ecs/service:Service", "fargate gb", _task_gb),
    (_AWS, "aws:ec2/eip:Eip", "public ipv4", _one),
    (_AWS, "aws:kms/key:Key", "kms key", _one),
    (_AWS, "aws:secretsmanager/secret:Secret", "secret", _one),
    (_AWS, "aws:route53/zone:Zone", "hosted zone", _one),
    (_AWS, "aws:route53/healthCheck:HealthCheck", "health check", _one),
    (_AWS, "aws:cloudwatch/metricAlarm:MetricAlarm", "alarm", _one),
    (_AWS, "aws:cloudwatch/dashboard:Dashboard", "dashboard", _one),
    (_AWS, "aws:wafv2/webAcl:WebAcl", "web acl", _one),
    (_AWS, "aws:wafv2/webAcl:WebAcl", "web acl rule", _rules),
    (_AWS, NODE_GROUP, "gp3 gb", _gigabytes),
    (_AZURE, "azure-native:network:NatGateway", "nat gateway", _one),
    (_AZURE, "azure-native:network:PublicIPAddress", "public ipv4", _one),
    (_AZURE, "azure-native:network:PrivateEndpoint", "private endpoint", _one),
    (_AZURE, "azure-native:dns:Zone", "hosted zone", _one),
    (_AZURE, "azure-native:privatedns:PrivateZone", "hosted zone", _one),
    (_AZURE, "azure-native:containerregistry:Registry", "registry premium", _premium),
    (_AZURE, MANAGED_CLUSTER, "aks standard", _paid_control),
    (_AZURE, "azure-native:monitor:MetricAlert", "alert", _criteria),
    (_AZURE, "azure-native:trafficmanager:Endpoint", "traffic manager endpoint", _one),
)
"""Cloud, resource type, price, and how many of it one resource is."""


def _standing(stack: Stack) -> Iterator[Line]:
    for cloud, type_, what, count in STANDING:
        for resource in stack.of(type_):
            yield _line(cloud, what, _region(cloud, resource), count(stack, resource))
    for gateway in stack.of("azure-native:network:VirtualNetworkGateway"):
        yield _line(_AZURE, f"vpn gateway {text(gateway.get('sku.name'))}", location(gateway), 1.0)
    cloud = _AZURE if stack.of(MANAGED_CLUSTER) else _AWS
    clusters = stack.of(MANAGED_CLUSTER, "aws:eks/cluster:Cluster")
    for service in stack.of("kubernetes:core/v1:Service") if clusters else ():
        yield _line(cloud, "load balancer", _region(cloud, clusters[0]), _published(stack, service))


def _region(cloud: str, resource: Resource) -> str:
    return resource.region if cloud == _AWS else location(resource)


def _line(cloud: str, what: str, region: str, count: float) -> Line:
    price = standing(f"{cloud} {what}")
    estimate = bool(region) and region not in (HOME[cloud], "global")
    if price is None:
        return Line(what, region, None, count, count, "not known", estimate)
    return Line(what, region, price.usd_per_hour, count, count, price.source, estimate)


Before = Mapping[tuple[str, str], float]
"""What lines cost a month at rest before a change, by what they are and where."""


def markdown(bill: Bill, name: str, before: Before | None = None) -> str:
    """The bill as a comment for a pull request; ``before``: what it is compared with."""
    head = (
        f"### What `{name}` costs: {bill.month:,.2f} $ a month at rest, {bill.month_at_peak:,.2f} $ with every "
        "autoscaler at its maximum"
    )
    names = titles(before)
    rows = ["| " + " | ".join(cells(line, before)) + " |" for line in bill.lines]
    table = ["| " + " | ".join(names) + " |", "| --- " * len(names) + "|", *rows]
    said = [line for text in (*changed(bill, before or {}), *footnotes(bill)) for line in ("", text)]
    return "\n".join([head, "", *table, *said, ""])


def titles(before: Before | None) -> list[str]:
    more = ["change at rest"] if before is not None else []
    return ["what", "where", "$/hour each", "at rest", "$ a month", "at most", "$ a month", *more]


def cells(line: Line, before: Before | None) -> Iterator[str]:
    each = "not known" if line.usd_per_hour is None else f"{line.usd_per_hour:.4f}" + " (estimate)" * line.estimate
    yield from (line.what, line.place, each, f"{line.least:g}", f"{line.month(line.least):,.2f}")
    yield from (f"{line.most:g}", f"{line.month(line.most):,.2f}")
    if before is not None:
        change = line.month(line.least) - before.get((line.what, line.place), 0.0)
        yield f"{round(change, 2) + 0.0:+,.2f}"


def changed(bill: Bill, before: Before) -> Iterator[str]:
    if not before:
        return
    yield f"It was {sum(before.values()):,.2f} $ at rest: {bill.month - sum(before.values()):+,.2f} $."
    there = {(line.what, line.place) for line in bill.lines}
    for what, place in sorted(before.keys() - there):
        yield f"Gone: {what} in {place}, {before[what, place]:,.2f} $."


def footnotes(bill: Bill) -> Iterator[str]:
    yield "List prices; a month is 730 hours. Besides, by use: " + "; ".join(bill.by_use) + "."
    if any(line.estimate for line in bill.lines):
        yield "An estimate is the price of us-east-1 or eastus, or one scaled from it."
    for line in bill.unknown:
        yield f"Left out of the sums: {line.what} in {line.place}; its price is {line.source}."


def bill_json(bill: Bill) -> dict[str, Any]:
    return {
        "usd_per_month": round(bill.month, 2),
        "usd_per_month_at_peak": round(bill.month_at_peak, 2),
        "lines": [
            {
                "what": line.what,
                "place": line.place,
                "usd_per_hour_each": line.usd_per_hour,
                "at_rest": line.least,
                "at_peak": line.most,
                "usd_per_month": round(line.month(line.least), 2),
                "usd_per_month_at_peak": round(line.month(line.most), 2),
                "estimate": line.estimate,
                "source": line.source,
            }
            for line in bill.lines
        ],
        "by_use": list(bill.by_use),
    }
