from __future__ import annotations

import json
from pathlib import Path

import moto.iam
import pytest

from spillway.conformance.flows.documents import Call, allows, like
from spillway.conformance.flows.doors import rights
from spillway.conformance.flows.doors.managed_policies import MANAGED
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import ACCOUNT, allow, asked, inline, made, policy, role, trusting, world

READ = Call("ssm:GetParameter", "arn:aws:ssm:us-east-1:1:parameter/x")
HOLDER = made("aws:lambda/function:Function", "function")


def named(*resources: Resource, service: str = "lambda", call: Call = READ) -> list[tuple[str, str]]:
    plan = world(*resources)
    doors = rights.identity(plan, resources[0].outputs["arn"], rights.service(plan, service), [call], HOLDER)
    return [(one.resource.name if one.resource else "", one.path) for one in asked(doors)]


ROLE = role("reader", trusting("lambda"))


def test_a_role_that_is_trusted_and_allowed() -> None:
    assert named(ROLE, inline(ROLE, allow("ssm:GetParameter"))) == []


def test_a_role_that_trusts_another_service() -> None:
    assert named(ROLE, inline(ROLE, allow("ssm:GetParameter")), service="ecs-tasks") == [("reader", "assumeRolePolicy")]


def test_a_role_for_another_account() -> None:
    other = {**trusting("lambda"), "Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}}}
    strict = role("reader", other)
    assert named(strict, inline(strict, allow("ssm:GetParameter"))) == [("reader", "assumeRolePolicy")]


@pytest.mark.parametrize("statement", [allow("ssm:PutParameter"), {**allow("ssm:*"), "Effect": "Deny"}])
def test_a_right_that_is_missing_or_denied_names_the_policy(statement: dict[str, str]) -> None:
    extra = (
        inline(ROLE, allow("ssm:GetParameter"), statement) if statement["Effect"] == "Deny" else inline(ROLE, statement)
    )
    assert named(ROLE, extra) == [("reader-policy", "policy")]


def test_a_role_with_a_policy_of_unknown_content_is_not_judged() -> None:
    kind = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    own = made(kind, "own", {"role": "reader", "policyArn": f"arn:aws:iam::{ACCOUNT}:policy/of-the-company"})
    assert named(ROLE, own) == []
    managed = made(kind, "cni", {"role": "reader", "policyArn": "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"})
    assert named(ROLE, managed, call=Call("ec2:AssignPrivateIpAddresses")) == []
    assert named(ROLE, managed) == [("reader", "")]


def test_a_key_policy_has_to_leave_its_use_to_iam() -> None:
    root = {**allow("kms:*"), "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    other = {**allow("kms:*"), "Principal": {"Service": "logs.us-east-1.amazonaws.com"}}
    for statement, paths in ((root, []), (other, ["policy"])):
        key = made("aws:kms/key:Key", "key", {"policy": policy(statement)}, arn="arn:key")
        assert [one.path for one in asked(rights.key_policy(world(ROLE, key), "arn:key"))] == paths


@pytest.mark.parametrize("arn", MANAGED)
def test_managed_policies_allow_what_the_table_says(arn: str) -> None:
    """As AWS publishes them, and moto carries them."""
    text = (Path(moto.iam.__file__).parent / "aws_managed_policies.py").read_text(encoding="utf-8")
    documents = json.loads(text[text.index("{") : text.rindex("}") + 1])
    document = documents[arn.rpartition("/")[2]]["Document"]
    for action in MANAGED[arn]:
        # Conditions on tags of resources are met by what EKS and the driver make.
        assert allows(document, Call(action, _any_resource(document, action))), action


def _any_resource(document: dict[str, object], action: str) -> str:
    for statement in document["Statement"]:  # type: ignore[attr-defined]
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if statement["Effect"] == "Allow" and any(like(one, action, False) for one in actions):
            resource = statement["Resource"]
            return (resource if isinstance(resource, str) else resource[0]).replace("*", "any")
    return "*"
