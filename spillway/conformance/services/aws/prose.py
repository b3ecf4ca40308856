"""What only AWS' and the provider's documentation says of one resource."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, items, rule, waits_for
from spillway.contracts.property_values import document
from spillway.contracts.resources import UNKNOWN, Resource

_LAMBDA: Final = Source(
    "Lambda quotas: new accounts have reduced concurrency; PutFunctionConcurrency leaves 100 unreserved",
    "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
    "2026-11-29",
)


@rule(
    "lambda-reserved-concurrency",
    "At least 100 of an account's concurrent executions stay unreserved, and new accounts have fewer than that.",
    _LAMBDA,
)
def _reserved_concurrency(graph: Graph) -> Iterator[Found]:
    for function in graph.of("aws:lambda/function:Function"):
        reserved = function.get("reservedConcurrentExecutions")
        if isinstance(reserved, int | float) and reserved > 0:
            yield (
                function,
                "reservedConcurrentExecutions",
                f"is refused in an account whose limit is below {100 + int(reserved)}, and new accounts start lower",
                "Take turns otherwise (a queue, a lock), or exempt this with the account's limit as the reason.",
            )


@rule(
    "acm-delegated-zone",
    "A certificate is issued once its record is found from the public DNS: the zone that holds it has to be delegated.",
    Source(
        "ACM: troubleshoot DNS validation",
        "https://docs.aws.amazon.com/acm/latest/userguide/troubleshooting-DNS-validation.html",
        "2026-11-29",
    ),
)
def _delegated_zone(graph: Graph) -> Iterator[Found]:
    zones = {zone.id: zone for zone in graph.of("aws:route53/zone:Zone") if zone.id and not zone.get("vpcs")}
    delegated = {
        str(record.get("name")).rstrip(".")
        for record in graph.of("aws:route53/record:Record")
        if record.get("type") == "NS"
    }
    for validation in graph.of("aws:acm/certificateValidation:CertificateValidation"):
        names = {str(name).rstrip(".") for name in items(validation.get("validationRecordFqdns"))}
        for record in graph.of("aws:route53/record:Record"):
            zone = zones.get(str(record.get("zoneId")))
            proves = str(record.get("name")).rstrip(".") in names
            if zone is not None and proves and str(zone.get("name")).rstrip(".") not in delegated:
                yield (
                    validation,
                    "certificateArn",
                    f"waits for a record in {zone.name}, to which nobody has delegated: the same deployment makes it",
                    "Delegate a zone first and name it in `dns.zone_id`, or give `gateway.standby.certificate_arn`.",
                )


@rule(
    "eks-capacity-block",
    "A node group on a capacity block has a launch template of its own that names the reservation and the market.",
    Source(
        "EKS: managed node groups with Capacity Blocks for ML",
        "https://docs.aws.amazon.com/eks/latest/userguide/capacity-blocks-mng.html",
        "2026-11-29",
    ),
)
def _capacity_block(graph: Graph) -> Iterator[Found]:
    for group in graph.of("aws:eks/nodeGroup:NodeGroup"):
        if group.get("capacityType") != "CAPACITY_BLOCK" or group.get("launchTemplate.id") is UNKNOWN:
            continue
        template = graph.named(group.get("launchTemplate.id"), "aws:ec2/launchTemplate:LaunchTemplate")
        market = template.get("instanceMarketOptions.marketType") if template else None
        target = template.get("capacityReservationSpecification.capacityReservationTarget") if template else None
        if market is not UNKNOWN and (market != "capacity-block" or not target):
            yield (
                group,
                "capacityType",
                "its launch template has no marketType capacity-block with a capacityReservationTarget: it is refused",
                "Name the reservation in the launch template, or choose another `gpu_pool.capacity_type`.",
            )


@rule(
    "ecs-secret-has-a-value",
    "A task starts once each secret that it names has a value.",
    Source(
        "ECS: pass Secrets Manager secrets through environment variables",
        "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html",
        "2026-11-29",
    ),
)
def _secret_value(graph: Graph) -> Iterator[Found]:
    versions = graph.of("aws:secretsmanager/secretVersion:SecretVersion")
    for service in graph.of("aws:ecs/service:Service"):
        task = graph.named(service.get("taskDefinition"), "aws:ecs/taskDefinition:TaskDefinition")
        for secret in _secrets_of(graph, task) if task else ():
            values = [each for each in versions if each.get("secretId") in (secret.id, secret.outputs.get("arn"))]
            if not any(waits_for(graph, service, value) for value in values):
                yield (
                    service,
                    "taskDefinition",
                    f"may start before {secret.name} has a value: the task fails, and the service gives up",
                    "Let the service depend on the secret's value.",
                )


def _secrets_of(graph: Graph, task: Resource) -> Iterator[Resource]:
    containers = document(task.get("containerDefinitions"))
    for container in items(containers):
        for secret in items(container.get("secrets")):
            arn = ":".join(str(secret.get("valueFrom")).split(":")[:7])
            found = graph.named(arn, "aws:secretsmanager/secret:Secret")
            if found is not None:
                yield found


RULES: Final[tuple[Rule, ...]] = (
    _reserved_concurrency,
    _delegated_zone,
    _capacity_block,
    _secret_value,
)
