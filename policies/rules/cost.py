"""Cost: what runs in the clouds is watched, bounded and within the stack's ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_missing, is_other_than, number
from policies.rules.capacity import (
    BATCH_ENDPOINT,
    COMPUTE,
    ONLINE_DEPLOYMENT,
    ONLINE_ENDPOINT,
    SAGEMAKER_ENDPOINT,
    Machines,
    autoscale_setting,
    machines,
    scaling_target,
)
from spillway.contracts import metrics
from spillway.contracts.prices import PriceError, price_per_hour
from spillway.contracts.resources import Resource


class CostAlarmSettings(PolicySettings):
    """Which metric carries the live cost of burst."""

    metric: str = metrics.BURST_USD_PER_HOUR
    """Metric whose alarm counts; it has to have an action."""


class MaximumSettings(PolicySettings):
    """How far a burst endpoint may grow."""

    max_instances: Annotated[int, Field(ge=1)] = 32
    """Largest maximum of an endpoint, deployment or batch cluster, in instances."""


class CeilingSettings(PolicySettings):
    """What a stack may cost. Accelerated machines are counted, at list price or the stack's own."""

    max_usd_per_hour: Annotated[float, Field(gt=0)] = 50.0
    """US dollars an hour at the smallest capacity that each site keeps."""

    max_usd_per_hour_at_peak: Annotated[float, Field(gt=0)] = 200.0
    """US dollars an hour with every autoscaler at its maximum."""


def burst_endpoints(stack: Stack) -> list[Resource]:
    return stack.of(SAGEMAKER_ENDPOINT, ONLINE_ENDPOINT, BATCH_ENDPOINT)


def _cost_alarm(stack: Stack, settings: CostAlarmSettings) -> Iterator[Finding]:
    if any(_alarms_on(alarm, settings.metric) for alarm in stack.of(*_ALARMS)):
        return
    for endpoint in burst_endpoints(stack):
        yield Finding(endpoint, f"no alarm on the metric {settings.metric} with an action watches what it costs")


_ALARMS = (
    "aws:cloudwatch/metricAlarm:MetricAlarm",
    "azure-native:monitor:MetricAlert",
    "azure-native:monitor:ScheduledQueryRule",
)


def _alarms_on(alarm: Resource, metric: str) -> bool:
    if alarm.type == _ALARMS[0]:
        return alarm.get("metricName") == metric and not is_missing(alarm.get("alarmActions"))
    criteria = entries(alarm.get("criteria.allOf"))
    on = any(c.get("metricName") == metric or metric in str(c.get("query", "")) for c in criteria)
    return on and alarm.get("enabled") is not False and not is_missing(alarm.get("actions"))


def _maximum(stack: Stack, settings: MaximumSettings) -> Iterator[Finding]:
    for endpoint in stack.of(SAGEMAKER_ENDPOINT):
        target = scaling_target(stack, endpoint)
        if target is None:
            yield Finding(endpoint, "no scaling target bounds its instances")
        else:
            yield from _bounded(target, "maxCapacity", settings)
    for deployment in stack.of(ONLINE_DEPLOYMENT):
        setting = autoscale_setting(stack, deployment)
        if setting is None:
            yield Finding(deployment, "no autoscale setting bounds its instances")
        else:
            yield from _bounded(setting, "profiles.0.capacity.maximum", settings)
    for compute in stack.of(COMPUTE):
        yield from _bounded(compute, "properties.properties.scaleSettings.maxNodeCount", settings)


def _bounded(resource: Resource, path: str, settings: MaximumSettings) -> Iterator[Finding]:
    value = resource.get(path)
    most = number(value)
    if value is None or (most is not None and most > settings.max_instances):
        yield Finding(resource, f"{path} has to be at most {settings.max_instances}")


def _budget(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for endpoint in burst_endpoints(stack):
        kind = "aws:budgets/budget:Budget" if endpoint.type == SAGEMAKER_ENDPOINT else _AZURE_BUDGET
        if not any(not is_missing(budget.get("notifications")) for budget in stack.of(kind)):
            yield Finding(endpoint, "no budget with notifications stands behind it in its cloud")


_AZURE_BUDGET = "azure-native:consumption:Budget"


def _failover(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    endpoints = burst_endpoints(stack)
    if not endpoints or _fails_over(stack):
        return
    for endpoint in endpoints:
        yield Finding(endpoint, "no failover record leads clients to a gateway in front of it")


def _fails_over(stack: Stack) -> bool:
    roles = {
        str(policy.get("type", "")).upper()
        for record in stack.of("aws:route53/record:Record")
        for policy in entries(record.get("failoverRoutingPolicies"))
    }
    if roles >= {"PRIMARY", "SECONDARY"}:
        return True
    return any(
        not is_other_than(profile.get("trafficRoutingMethod"), "Priority")
        for profile in stack.of(*TRAFFIC_MANAGER_PROFILES)
    )


TRAFFIC_MANAGER_PROFILES = ("azure-native:trafficmanager:Profile", "azure-native:network:Profile")


def _price(stack: Stack, found: Machines) -> float | None:
    """US dollars an hour of one machine: the stack's own price, else the list's; ``None`` where neither is known."""
    own = stack.context.prices.get(f"{found.cloud}/{found.instance_type}/{found.region}")
    if own is not None:
        return own
    try:
        return price_per_hour(found.cloud, found.instance_type, found.region)
    except PriceError:
        return None


def _ceiling(stack: Stack, settings: CeilingSettings) -> Iterator[Finding]:
    priced = [(found, _price(stack, found)) for found in machines(stack) if found.accelerated]
    least = sum(price * (found.least or 0) for found, price in priced if price is not None)
    most = sum(price * (found.most or 0) for found, price in priced if price is not None)
    if least > settings.max_usd_per_hour:
        yield Finding(None, f"at its smallest capacity the stack costs more than {settings.max_usd_per_hour:g} $/h")
    if most > settings.max_usd_per_hour_at_peak:
        yield Finding(None, f"at its peak the stack costs more than {settings.max_usd_per_hour_at_peak:g} $/h")


def _priced(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for found in machines(stack):
        if found.accelerated and found.region and _price(stack, found) is None:
            yield Finding(found.resource, "nobody knows what its instance type costs in its region")


def _budget_is_told(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for budget in stack.of("aws:budgets/budget:Budget"):
        for notification in entries(budget.get("notifications")):
            listeners = [notification.get(key) for key in ("subscriberEmailAddresses", "subscriberSnsTopicArns")]
            if all(is_missing(listener) for listener in listeners):
                yield Finding(budget, "a notification of the budget goes to nobody")
    for budget in stack.of(_AZURE_BUDGET):
        notifications = budget.get("notifications")
        for notification in entries(list(notifications.values()) if isinstance(notifications, dict) else None):
            listeners = [notification.get(key) for key in ("contactEmails", "contactGroups", "contactRoles")]
            if all(is_missing(listener) for listener in listeners) or notification.get("enabled") is False:
                yield Finding(budget, "a notification of the budget goes to nobody")


def _alarm_actions(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for alarm in stack.of(_ALARMS[0]):
        if not is_missing(alarm.get("alarmActions")) and alarm.get("actionsEnabled") is False:
            yield Finding(alarm, "actionsEnabled is off, so the alarm tells nobody")


POLICIES = (
    Policy(
        "burst-cost-alarm",
        "A burst endpoint has an alarm on the live cost of burst.",
        "Keep the `cost_guard` component in the stack, with `max_burst_usd_per_hour` set.",
        _cost_alarm,
        CostAlarmSettings,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "burst-maximum",
        "A burst endpoint has an autoscaling maximum within the bound.",
        "Set `max_instances` (SageMaker, Azure ML) or `max_nodes` (batch) under `burst` in the stack file.",
        _maximum,
        MaximumSettings,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "burst-budget",
        "A burst endpoint has a budget with notifications in its cloud.",
        "Set `cost_guard.budgets` and `cost_guard.notify_emails` in the stack file.",
        _budget,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "burst-failover-record",
        "Where there are burst endpoints, a failover record leads clients to them when the private site is gone.",
        "Configure `dns`: Route 53 records with PRIMARY and SECONDARY, or a Traffic Manager profile by priority.",
        _failover,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "budget-is-told",
        "Every notification of a budget reaches somebody.",
        "Give the notification addresses or a topic (`cost_guard.notify_emails`).",
        _budget_is_told,
    ),
    Policy(
        "alarm-actions-on",
        "An alarm that has actions takes them.",
        "Remove `actionsEnabled: false` from the alarm.",
        _alarm_actions,
    ),
    Policy(
        "stack-price",
        "The stack's machines cost no more an hour than its ceiling, at rest and at peak.",
        "Use fewer or cheaper instances, or raise the ceiling in the stack file and say why.",
        _ceiling,
        CeilingSettings,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "known-price",
        "The price of every accelerated instance type is known, so that no cost is taken for zero.",
        "Add the price to `cost_guard.prices` in the stack file as `cloud/type/region`.",
        _priced,
    ),
)
