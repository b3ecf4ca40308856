"""Queues."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.attributes import attributes
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import ALLOW, OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service

_QUEUE_ATTRIBUTES = {
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deduplicationScope": "DeduplicationScope",
    "delaySeconds": "DelaySeconds",
    "fifoQueue": "FifoQueue",
    "fifoThroughputLimit": "FifoThroughputLimit",
    "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "maxMessageSize": "MaximumMessageSize",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "policy": "Policy",
    "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "redriveAllowPolicy": "RedriveAllowPolicy",
    "redrivePolicy": "RedrivePolicy",
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
}


def _queue(scope: Scope) -> list[dict[str, Any]]:
    return [{"QueueName": scope["name"], "Attributes": attributes(scope, _QUEUE_ATTRIBUTES), "tags": scope["tags"]}]


def _queue_changes(scope: Scope) -> list[dict[str, Any]]:
    return [{"QueueUrl": scope["id"], "Attributes": attributes(scope, _QUEUE_ATTRIBUTES)}]


def _queue_policy(scope: Scope) -> list[dict[str, Any]]:
    return [{"QueueUrl": scope["queueUrl"], "Attributes": {"Policy": scope["policy"]}}]


_ROWS = (
    Row(
        token="aws:sqs/queue:Queue",
        service="sqs",
        create="CreateQueue",
        build=_queue,
        id="@QueueUrl",
        key={"QueueUrl": "{id}"},
        read="GetQueueAttributes",
        read_key={"QueueUrl": "{id}", "AttributeNames": ["All"]},
        live="Attributes",
        delete="DeleteQueue",
        parts=(Part("SetQueueAttributes", tuple(_QUEUE_ATTRIBUTES), build=_queue_changes, update_only=True),),
        replaces=("fifoQueue",),
        outputs={"arn": "@QueueArn", "url": "{id}"},
        tags=Tags("TagQueue", "UntagQueue", {"QueueUrl": "{id}"}),
        samples=(
            Sample(
                "queue",
                {"visibilityTimeoutSeconds": 60, "sqsManagedSseEnabled": True, "tags": OWNED},
                change={"visibilityTimeoutSeconds": 90},
            ),
        ),
    ),
    Row(
        token="aws:sqs/queuePolicy:QueuePolicy",
        service="sqs",
        create="SetQueueAttributes",
        build=_queue_policy,
        id="{queueUrl}",
        key={"QueueUrl": "{queueUrl}"},
        read="GetQueueAttributes",
        read_key={"QueueUrl": "{queueUrl}", "AttributeNames": ["Policy"]},
        live="Attributes.Policy",
        parts=(Part("SetQueueAttributes", ("policy",), build=_queue_policy, update_only=True),),
        name="",
        samples=(Sample("queue-policy", {"queueUrl": "$queue.url", "policy": ALLOW}),),
    ),
)


def _patch(_: QueueCall) -> None:
    """Moto drops a queue's policy whenever another attribute is set."""
    from moto.sqs.models import Queue

    set_attributes = Queue._set_attributes

    def keep_policy(queue: Any, attributes: dict[str, Any], now: float | None = None) -> None:
        held = getattr(queue, "_policy_json", None)
        set_attributes(queue, attributes, now)
        if "Policy" not in attributes and held is not None:
            queue._policy_json = held

    queues: Any = Queue
    queues._set_attributes = keep_policy


SERVICE = Service("sqs", _ROWS, patch=_patch)
