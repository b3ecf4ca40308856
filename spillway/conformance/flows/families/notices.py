"""Notices: alarms, budgets, cost anomalies and the cluster's Alertmanager → topics → those who act on them.

A topic's own policy lets services publish, and the key of an encrypted one lets them encrypt:
https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows import documents
from spillway.conformance.flows.documents import Call, listed
from spillway.conformance.flows.doors import pod_identities, rights
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.workloads import CHART
from spillway.conformance.flows.world import World
from spillway.conformance.graph import chart_of
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource

FUNCTION: Final = "aws:lambda/function:Function"
_TOPIC: Final = "aws:sns/topic:Topic"
_POLICY: Final = "aws:sns/topicPolicy:TopicPolicy"
_SUBSCRIPTION: Final = "aws:sns/topicSubscription:TopicSubscription"
_PERMISSION: Final = "aws:lambda/permission:Permission"
_KEY_CALLS: Final = ("kms:GenerateDataKey", "kms:Decrypt")
_ALARMS: Final = ("aws:cloudwatch/metricAlarm:MetricAlarm", "aws:cloudwatch/compositeAlarm:CompositeAlarm")


def flows(world: World) -> Iterator[Flow]:
    for service, arns in _publishers(world).items():
        for topic in filter(None, (world.by_arn(arn, _TOPIC) for arn in sorted(arns))):
            doors = (
                Door("topic policy", partial(_publishes, world, topic, service)),
                Door("topic's key", partial(_encrypts, world, topic, service)),
            )
            yield Flow(f"{service}.amazonaws.com", str(topic.props.get("name")), "tcp/443", doors)
    for found in world.graph.of(_PERMISSION):
        function = world.by_arn(found.props.get("function"), FUNCTION) or _by_name(world, found.props.get("function"))
        if function and found.props.get("principal") == "sns.amazonaws.com":
            door = Door("subscription", partial(_subscribed, world, function, found.props.get("sourceArn")))
            yield Flow("topic", str(function.props.get("name")), "tcp/443", (door,))
    for found in world.graph.of(_SUBSCRIPTION):
        if function := world.by_arn(found.props.get("endpoint"), FUNCTION):
            door = Door("permission", partial(_permits, world, function, found.props.get("topic")))
            yield Flow("subscription", str(function.props.get("name")), "tcp/443", (door,))
    for chart in world.graph.of(CHART):
        if chart_of(chart) == "kube-prometheus-stack":
            yield from _of_alertmanager(world, chart)


def _of_alertmanager(world: World, chart: Resource) -> Iterator[Flow]:
    """Its pod shows a token of its own account.

    https://prometheus.io/docs/alerting/latest/configuration/#sns_config (read 2026-11-30)
    """
    values = chart.get("values.alertmanager") or {}
    told = [one for patch in (values.get("alertmanagerSpec") or {}).get("containers") or () for one in patch["env"]]
    role = next((one.get("value") for one in told if one.get("name") == "AWS_ROLE_ARN"), None)
    account = str((values.get("serviceAccount") or {}).get("name"))
    trusted = pod_identities.of_account(world, role, str(chart.get("namespace")), account, "sts.amazonaws.com")
    for receiver in (values.get("config") or {}).get("receivers") or ():
        for sns in receiver.get("sns_configs") or ():
            topic = world.by_arn(sns.get("topic_arn"), _TOPIC)
            key = topic.props.get("kmsMasterKeyId") if topic else None
            calls = [Call("sns:Publish", str(sns.get("topic_arn")))]
            calls += [call for action in _KEY_CALLS for call in rights.decrypts(world, key, action)]
            doors = (*rights.identity(world, role, trusted, calls, chart), *rights.key_policy(world, key))
            yield Flow("Alertmanager", str(sns.get("topic_arn")).rpartition(":")[2], "tcp/443", doors)


def _by_name(world: World, name: Any) -> Resource | None:
    return next((one for one in world.graph.of(FUNCTION) if one.props.get("name") == name), None)


def _publishers(world: World) -> dict[str, set[str]]:
    """Service → the topics that it is told to publish to."""
    told: dict[str, set[str]] = {}
    for alarm in world.graph.of(*_ALARMS):
        actions = [*(alarm.props.get("alarmActions") or ()), *(alarm.props.get("okActions") or ())]
        told.setdefault("cloudwatch", set()).update(str(one) for one in actions)
    for budget in world.graph.of("aws:budgets/budget:Budget"):
        for notice in budget.props.get("notifications") or ():
            told.setdefault("budgets", set()).update(map(str, notice.get("subscriberSnsTopicArns") or ()))
    for found in world.graph.of("aws:costexplorer/anomalySubscription:AnomalySubscription"):
        addresses = [one.get("address") for one in found.props.get("subscribers") or () if one.get("type") == "SNS"]
        told.setdefault("costalerts", set()).update(map(str, addresses))
    return told


def _lets(document: Any, call: Call, service: str) -> bool:
    for statement in documents.allowing(document, call):
        principal = statement.get("Principal")
        if principal == "*" or (isinstance(principal, Mapping) and service in listed(principal.get("Service"))):
            return True
    return False


def _publishes(world: World, topic: Resource, service: str) -> Iterator[Closed]:
    arn, name = str(topic.outputs.get("arn")), f"{service}.amazonaws.com"
    found = [one for one in world.graph.of(_POLICY) if one.props.get("arn") == arn]
    call = Call("sns:Publish", arn, {"aws:SourceAccount": world.account})
    allowed = any(_lets(one.props.get("policy"), call, name) for one in found)
    # The policy that a topic has by default is for its own account, for whose alarms CloudWatch asks.
    if not allowed and (found or service != "cloudwatch"):
        yield Closed(
            next(iter(found), topic),
            "policy" if found else "",
            f"the topic's policy does not let {name} publish",
            f"Allow sns:Publish to {name}.",
        )


def _encrypts(world: World, topic: Resource, service: str) -> Iterator[Closed]:
    key = world.by_arn(topic.props.get("kmsMasterKeyId"), "aws:kms/key:Key")
    name = f"{service}.amazonaws.com"
    if key is None:
        return
    for action in _KEY_CALLS:
        call = Call(action, "*", {"aws:SourceAccount": world.account})
        if not _lets(key.props.get("policy"), call, name):
            yield Closed(key, "policy", f"the key of {topic.name} does not let {name} use it", "Allow it there.")
            return


def _subscribed(world: World, function: Resource, topic: Any) -> Iterator[Closed]:
    arn = function.outputs.get("arn")
    for found in world.graph.of(_SUBSCRIPTION):
        if found.props.get("endpoint") == arn and topic in (None, found.props.get("topic")):
            return
    yield Closed(function, "", "a topic may call the function, and nothing subscribes it", "Subscribe it to the topic.")


def _permits(world: World, function: Resource, topic: Any) -> Iterator[Closed]:
    names = (function.props.get("name"), function.outputs.get("arn"))
    found = [one for one in world.graph.of(_PERMISSION) if one.props.get("function") in names]
    for one in found:
        fits = one.props.get("principal") == "sns.amazonaws.com" and one.props.get("sourceArn") in (None, topic)
        if fits and one.props.get("action") == "lambda:InvokeFunction":
            return
    yield Closed(
        next(iter(found), function),
        "",
        "no permission lets the topic call the function",
        "Add a permission for sns.amazonaws.com with the topic as its source.",
    )


FAMILY: Final = Family(
    "flow-notices",
    "Alarms, budgets and Alertmanager reach their topics, and topics the functions that act on them",
    Source(
        "Amazon SNS: key management and AWS event sources",
        "https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html",
        "2026-11-29",
    ),
    flows,
)
