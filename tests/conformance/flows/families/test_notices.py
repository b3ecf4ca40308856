"""Encrypted topics: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services"""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.notices import FAMILY
from tests.conformance.flows.plans import allow, asked, made, policy, world

TOPIC = "arn:aws:sns:us-east-1:123456789012:notices"


def statement(service: str, action: str) -> dict[str, Any]:
    return {**allow(action), "Principal": {"Service": f"{service}.amazonaws.com"}}


@pytest.mark.parametrize(
    ("publishes", "encrypts", "named"),
    [
        ("budgets", "budgets", []),
        ("cloudwatch", "budgets", [("topic-policy", "policy")]),
        ("budgets", "cloudwatch", [("key", "policy")]),
    ],
)
def test_a_budget_publishes_to_an_encrypted_topic(publishes: str, encrypts: str, named: list[tuple[str, str]]) -> None:
    plan = world(
        made("aws:budgets/budget:Budget", "budget", {"notifications": [{"subscriberSnsTopicArns": [TOPIC]}]}),
        made("aws:sns/topic:Topic", "topic", {"name": "notices", "kmsMasterKeyId": "arn:key"}, id=TOPIC, arn=TOPIC),
        made(
            "aws:sns/topicPolicy:TopicPolicy",
            "topic-policy",
            {"arn": TOPIC, "policy": policy(statement(publishes, "sns:Publish"))},
        ),
        made("aws:kms/key:Key", "key", {"policy": policy(statement(encrypts, "kms:*"))}, arn="arn:key"),
    )
    found = [one for flow in FAMILY.flows(plan) for one in asked(flow.doors)]
    assert [(one.resource.name, one.path) for one in found if one.resource] == named


def test_a_function_is_subscribed_and_permitted() -> None:
    function = made("aws:lambda/function:Function", "function", {"name": "cutoff"}, arn="arn:function")
    subscription = made(
        "aws:sns/topicSubscription:TopicSubscription", "subscription", {"endpoint": "arn:function", "topic": TOPIC}
    )
    permits = {
        "function": "cutoff",
        "principal": "sns.amazonaws.com",
        "sourceArn": TOPIC,
        "action": "lambda:InvokeFunction",
    }
    permission = made("aws:lambda/permission:Permission", "permission", permits)

    def closed(*resources: Any) -> int:
        return sum(len(asked(flow.doors)) for flow in FAMILY.flows(world(function, *resources)))

    assert closed(subscription, permission) == 0
    assert closed(subscription) == 1
    assert closed(permission) == 1
