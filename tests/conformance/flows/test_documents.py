"""How statements are weighed: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html"""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.documents import Call, allows, denies
from tests.conformance.flows.plans import allow, policy

GET = Call("s3:GetObject", "arn:aws:s3:::bucket/key", {"aws:PrincipalAccount": "1", "aws:SecureTransport": "true"})


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (allow("s3:GetObject", "arn:aws:s3:::bucket/*"), True),
        (allow("s3:get*"), True),
        (allow("s3:PutObject"), False),
        (allow("s3:GetObject", "arn:aws:s3:::other/*"), False),
        (allow("s3:GetObject", Condition={"StringEquals": {"aws:PrincipalAccount": "1"}}), True),
        (allow("s3:GetObject", Condition={"StringEquals": {"aws:PrincipalAccount": ["2", "3"]}}), False),
        (allow("s3:GetObject", Condition={"StringNotEquals": {"aws:PrincipalAccount": "2"}}), True),
        (allow("s3:GetObject", Condition={"StringLike": {"a:key-that-nobody-states": "x"}}), True),
        (allow("s3:GetObject", Condition={"Null": {"aws:PrincipalAccount": "false"}}), True),
        (allow("s3:GetObject", Condition={"Null": {"aws:PrincipalAccount": "true"}}), False),
        ({"Effect": "Allow", "NotAction": "s3:Put*", "Resource": "*"}, True),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::bucket/*"}, False),
        ({"Effect": "Deny", "Action": "*", "Resource": "*"}, False),
    ],
)
def test_a_statement_allows(statement: dict[str, Any], expected: bool) -> None:
    assert allows(policy(statement), GET) is expected


def test_an_unsigned_call_has_no_account() -> None:
    statement = allow("s3:GetObject", Condition={"StringEquals": {"aws:PrincipalAccount": "1"}})
    assert not allows(policy(statement), Call("s3:GetObject", "*", {"aws:PrincipalAccount": None}))
    absent = allow("s3:GetObject", Condition={"Null": {"aws:PrincipalAccount": "true"}})
    assert allows(policy(absent), Call("s3:GetObject", "*", {"aws:PrincipalAccount": None}))


def test_a_denial_counts_only_where_it_surely_holds() -> None:
    plain = {
        "Effect": "Deny",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    assert not denies(policy(plain), GET)
    assert denies(policy({**plain, "Condition": {"Bool": {"aws:SecureTransport": "true"}}}), GET)
    assert not denies(policy({**plain, "Condition": {"Bool": {"a:key-that-nobody-states": "true"}}}), GET)
