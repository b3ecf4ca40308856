"""Encrypted topics: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services"""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.notices import FAMILY
from tests.conformance.flows.plans import allow, asked, inline, made, policy, role, world

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


ISSUER = "oidc.example.com/id/1"


@pytest.mark.parametrize(
    ("account", "rights", "named"),
    [
        ("alertmanager", (allow("sns:Publish", TOPIC),), []),
        ("alertmanager", (), ["may-tell-policy"]),
        ("alertmanager", (allow("sns:Publish", f"{TOPIC}-of-others"),), ["may-tell-policy"]),
        ("somebody", (allow("sns:Publish", TOPIC),), ["may-tell"]),
    ],
)
def test_alertmanager_tells_a_topic_by_a_token_of_its_account(
    account: str, rights: tuple[dict[str, Any], ...], named: list[str]
) -> None:
    claims = {f"{ISSUER}:sub": f"system:serviceaccount:watch:{account}", f"{ISSUER}:aud": "sts.amazonaws.com"}
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": "arn:provider"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": claims},
    }
    may = role("may-tell", trust)
    values = {
        "serviceAccount": {"name": "alertmanager"},
        "alertmanagerSpec": {"containers": [{"env": [{"name": "AWS_ROLE_ARN", "value": may.outputs["arn"]}]}]},
        "config": {"receivers": [{"name": "nobody"}, {"name": "topic", "sns_configs": [{"topic_arn": TOPIC}]}]},
    }
    chart = {"chart": "kube-prometheus-stack", "namespace": "watch", "values": {"alertmanager": values}}
    provider = {"url": f"https://{ISSUER}", "clientIdLists": ["sts.amazonaws.com"]}
    plan = world(
        may,
        inline(may, *rights),
        made("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "provider", provider, id="arn:provider"),
        made("aws:sns/topic:Topic", "topic", {"name": "notices"}, id=TOPIC, arn=TOPIC),
        made("kubernetes:helm.sh/v3:Release", "chart", chart),
    )
    found = [one for flow in FAMILY.flows(plan) for one in asked(flow.doors)]
    assert [one.resource.name for one in found if one.resource] == named
