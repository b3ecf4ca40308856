"""Topics."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.attributes import attributes, text
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import ALLOW, OWNED, Sample
from spillway.twin.aws.service import Service

_TOPIC_ATTRIBUTES = {
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deliveryPolicy": "DeliveryPolicy",
    "displayName": "DisplayName",
    "fifoTopic": "FifoTopic",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
}
_SUBSCRIPTION_ATTRIBUTES = {
    "deliveryPolicy": "DeliveryPolicy",
    "filterPolicy": "FilterPolicy",
    "filterPolicyScope": "FilterPolicyScope",
    "rawMessageDelivery": "RawMessageDelivery",
    "redrivePolicy": "RedrivePolicy",
    "subscriptionRoleArn": "SubscriptionRoleArn",
}
_TOPIC_FEEDBACK = tuple(
    f"{protocol}{kind}"
    for protocol in ("application", "firehose", "http", "lambda", "sqs")
    for kind in ("FailureFeedbackRoleArn", "SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate")
)


def _topic(scope: Scope) -> list[dict[str, Any]]:
    pairs = [{"Key": key, "Value": value} for key, value in sorted(scope["tags"].items())]
    return [{"Name": scope["name"], "Attributes": attributes(scope, _TOPIC_ATTRIBUTES), "Tags": pairs}]


def _topic_changes(scope: Scope) -> list[dict[str, Any]]:
    changed = {name for name in _TOPIC_ATTRIBUTES if scope.get(name) != scope["old"].get(name)}
    return [
        {"TopicArn": scope["id"], "AttributeName": _TOPIC_ATTRIBUTES[name], "AttributeValue": text(scope.get(name, ""))}
        for name in sorted(changed)
    ]


def _subscription(scope: Scope) -> list[dict[str, Any]]:
    return [
        {
            "TopicArn": scope["topic"],
            "Protocol": scope["protocol"],
            "Endpoint": scope["endpoint"],
            "Attributes": attributes(scope, _SUBSCRIPTION_ATTRIBUTES),
            "ReturnSubscriptionArn": True,
        }
    ]


def _subscription_changes(scope: Scope) -> list[dict[str, Any]]:
    changed = {name for name in _SUBSCRIPTION_ATTRIBUTES if scope.get(name) != scope["old"].get(name)}
    return [
        {
            "SubscriptionArn": scope["id"],
            "AttributeName": _SUBSCRIPTION_ATTRIBUTES[name],
            "AttributeValue": text(scope.get(name, "")),
        }
        for name in sorted(changed)
    ]


def _topic_policy(scope: Scope) -> list[dict[str, Any]]:
    return [{"TopicArn": scope["arn"], "AttributeName": "Policy", "AttributeValue": scope["policy"]}]


_ROWS = (
    Row(
        token="aws:sns/topic:Topic",
        service="sns",
        create="CreateTopic",
        build=_topic,
        id="@TopicArn",
        key={"TopicArn": "{id}"},
        read="GetTopicAttributes",
        live="Attributes",
        delete="DeleteTopic",
        parts=(Part("SetTopicAttributes", tuple(_TOPIC_ATTRIBUTES), build=_topic_changes, update_only=True),),
        replaces=("fifoTopic",),
        local=(*_TOPIC_FEEDBACK, "archivePolicy", "fifoThroughputScope"),
        outputs={"arn": "{id}"},
        tags=Tags("TagResource", "UntagResource", {"ResourceArn": "{id}"}),
        note="delivery feedback roles and archive policy are only recorded",
        samples=(
            Sample(
                "topic",
                {"displayName": "alarms", "kmsMasterKeyId": "alias/aws/sns", "tags": OWNED},
                change={"displayName": "b"},
            ),
        ),
    ),
    Row(
        token="aws:sns/topicPolicy:TopicPolicy",
        service="sns",
        create="SetTopicAttributes",
        build=_topic_policy,
        id="{arn}",
        key={"TopicArn": "{arn}"},
        read="GetTopicAttributes",
        live="Attributes",
        parts=(Part("SetTopicAttributes", ("policy",), build=_topic_policy, update_only=True),),
        outputs={"owner": "{account}"},
        name="",
        samples=(Sample("topic-policy", {"arn": "$topic.arn", "policy": ALLOW}),),
    ),
    Row(
        token="aws:sns/topicSubscription:TopicSubscription",
        service="sns",
        create="Subscribe",
        build=_subscription,
        id="@SubscriptionArn",
        key={"SubscriptionArn": "{id}"},
        read="GetSubscriptionAttributes",
        live="Attributes",
        delete="Unsubscribe",
        parts=(
            Part(
                "SetSubscriptionAttributes",
                tuple(_SUBSCRIPTION_ATTRIBUTES),
                build=_subscription_changes,
                update_only=True,
            ),
        ),
        local=("confirmationTimeoutInMinutes", "endpointAutoConfirms", "replayPolicy"),
        outputs={"arn": "{id}", "ownerId": "{account}"},
        name="",
        samples=(
            Sample(
                "subscription",
                {"topic": "$topic.arn", "protocol": "sqs", "endpoint": "$queue.arn", "rawMessageDelivery": True},
                change={"rawMessageDelivery": False},
            ),
        ),
    ),
)

SERVICE = Service("sns", _ROWS)
