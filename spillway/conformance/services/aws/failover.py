"""Whether a standby that cannot serve, or a way in that is shut, is noticed before clients notice it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.property_values import texts
from spillway.contracts.resources import UNKNOWN, Resource

_READ: Final = "2026-11-30"
_SERVICE: Final = "aws:ecs/service:Service"
_CHECK: Final = "aws:route53/healthCheck:HealthCheck"
_ALARM: Final = "aws:cloudwatch/metricAlarm:MetricAlarm"
_BALANCERS: Final = ("AWS/ApplicationELB", "AWS/NetworkELB")


@rule(
    "ecs-steady-state",
    "A service counts as made at once, unless it is waited for; a first deployment that fails has none to go back to.",
    Source(
        "pulumi-aws: ecs.Service, waitForSteadyState; Amazon ECS: deployment failure detection",
        "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-failure-detection.html",
        _READ,
    ),
)
def _steady(graph: Graph) -> Iterator[Found]:
    for service in graph.of(_SERVICE):
        tasks = service.get("desiredCount")
        if isinstance(tasks, int | float) and tasks > 0 and service.get("waitForSteadyState") in (None, False):
            yield (
                service,
                "waitForSteadyState",
                "`up` ends well although no task of it ever started, and the circuit breaker starts no more",
                "Wait for it (waitForSteadyState).",
            )


@rule(
    "elb-targets-watched",
    "A load balancer tells how many of its targets are healthy, and nobody else does.",
    Source(
        "Elastic Load Balancing: CloudWatch metrics for your Application Load Balancer",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html",
        _READ,
    ),
)
def _watched(graph: Graph) -> Iterator[Found]:
    metrics = ("HealthyHostCount", "UnHealthyHostCount", UNKNOWN)
    for group in graph.of("aws:lb/targetGroup:TargetGroup"):
        suffix = str(group.outputs.get("arn") or group.id).rpartition(":")[2]
        watched = [one.get("dimensions.TargetGroup") for one in graph.of(_ALARM) if one.get("metricName") in metrics]
        if not any(each is UNKNOWN or each == suffix for each in watched):
            yield (
                group,
                "",
                "no alarm watches its healthy targets: a standby that died is found out at failover",
                "Add an alarm on HealthyHostCount of the target group and its load balancer.",
            )


@rule(
    "route53-failover-way-in",
    "A health check that follows an alarm says what the alarm's metric says, and nothing of the way to the record.",
    Source(
        "Route 53: how it determines the status of health checks that monitor CloudWatch alarms",
        "https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html",
        _READ,
    ),
)
def _way_in(graph: Graph) -> Iterator[Found]:
    private = {zone.id for zone in graph.of("aws:route53/zone:Zone") if zone.get("vpcs")}
    for record in graph.of("aws:route53/record:Record"):
        roles = [str(one.get("type")).upper() for one in items(record.get("failoverRoutingPolicies"))]
        check = graph.named(record.get("healthCheckId"), _CHECK)
        # Route 53's checkers stand in the Internet: a private way in they cannot walk.
        if roles != ["PRIMARY"] or check is None or record.get("zoneId") in private:
            continue
        if not any(_sees_way_in(graph, each) for each in _below(graph, check)):
            yield (
                record,
                "healthCheckId",
                "its health check asks nobody from outside: with a load balancer without targets or a closed door"
                " clients get nothing, and DNS stays",
                "Join an endpoint check (HTTPS) of the gateway to it by a calculated check.",
            )


def _below(graph: Graph, check: Resource) -> Iterator[Resource]:
    """The check and, of a calculated one, its children."""
    yield check
    for id_ in texts(check.get("childHealthchecks")):
        if child := graph.named(id_, _CHECK):
            yield from _below(graph, child)


def _sees_way_in(graph: Graph, check: Resource) -> bool:
    kind: Any = check.get("type")
    if kind == "CLOUDWATCH_METRIC":
        alarms = [one for one in graph.of(_ALARM) if one.get("name") == check.get("cloudwatchAlarmName")]
        return any(one.get("namespace") in _BALANCERS for one in alarms)
    return kind not in ("CALCULATED", "RECOVERY_CONTROL")


RULES: Final[tuple[Rule, ...]] = (_steady, _watched, _way_in)
