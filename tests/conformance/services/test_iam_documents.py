"""Every right that `prod` gives, judged by policy_sentry: an implementation and definitions that are not ours.

What parliament calls UNKNOWN_ACTION, RESOURCE_MISMATCH, UNKNOWN_CONDITION_FOR_ACTION and RESOURCE_STAR. Parliament
itself (1.6.4) wants an old setuptools, and knows IAM as of its release.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any

import pytest
from policy_sentry.analysis.expand import determine_actions_to_expand
from policy_sentry.querying.actions import get_action_data, get_actions_matching_condition_key
from policy_sentry.querying.all import get_all_service_prefixes
from policy_sentry.querying.conditions import get_condition_keys_for_service

from spillway.conformance.graph import Graph
from spillway.conformance.services.aws import policies

pytestmark = pytest.mark.heavy

_TYPES = ("aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy")
Statements = list[tuple[str, policies.Statement]]
JUDGED = {
    # As its maintainers publish it (docs/install/iam_policy.json of v3.5.0). Reading only; what it changes is bound by
    # tag or region. Which certificate a Service names, and which VPC it stands in, only the cluster knows.
    ("-balancer-controller-policy", "ec2:GetCoipPoolUsage"),
    ("-balancer-controller-policy", "ec2:GetSecurityGroupsForVpc"),
    ("-balancer-controller-policy", "acm:DescribeCertificate"),
    ("-balancer-controller-policy", "iam:GetServerCertificate"),
    # Names and states. AWS asks for the right on alarm:* whichever alarms are named, so that a prefix would be refused
    # and the cut-off would never come (aws-samples/amazon-cloudwatch-auto-alarms#1, mattclay/aws-terminator#63).
    ("-cost-cutoff-rights", "cloudwatch:DescribeAlarms"),
}


@pytest.fixture(scope="module")
def allowed(prod: Graph) -> Statements:
    """(end of the document's name, statement) of every right that `prod` gives."""
    return [
        (resource.name.removeprefix("spillway-test"), statement)
        for type_ in _TYPES
        for resource in prod.of(type_)
        for statement in policies.statements(resource.get("policy"))
        if statement.get("Effect") == "Allow"
    ]


def test_every_action_is_one_that_its_service_has(allowed: Statements) -> None:
    actions = {one for _, statement in allowed for one in policies.texts(statement.get("Action"))}
    assert len(actions) > 100
    assert [one for one in sorted(actions) if not unfolded(one)] == []


def test_every_action_is_for_the_resources_of_its_statement(allowed: Statements) -> None:
    assert list(chain.from_iterable(misplaced(one) for _, one in allowed)) == []


def test_every_condition_is_one_that_its_actions_know(allowed: Statements) -> None:
    assert list(chain.from_iterable(unasked(one) for _, one in allowed)) == []


def test_every_star_is_judged(allowed: Statements) -> None:
    found = {
        (end, action)
        for end, statement in allowed
        # A condition says less than everything: a tag, a name space, a region.
        if "*" in policies.texts(statement.get("Resource")) and not statement.get("Condition")
        for action in could_be_less(statement)
    }
    assert found == JUDGED


def test_what_is_wrong_is_seen() -> None:
    wrong = {"Action": ["s3:GetObject"], "Resource": "arn:aws:sqs:eu-west-1:1:jobs"}
    assert list(misplaced(wrong)) == ["s3:GetObject on arn:aws:sqs:eu-west-1:1:jobs"]
    assert not unfolded("s3:FetchObject")
    assert list(could_be_less({"Action": ["s3:GetObject"]})) == ["s3:GetObject"]
    asked = {"Action": "sagemaker:InvokeEndpoint", "Condition": {"StringEquals": {"sagemaker:InstanceTypes": "a"}}}
    assert list(unasked(asked)) == ["sagemaker:instancetypes"]


def unfolded(action: str) -> list[str]:
    """The actions of a pattern."""
    return [one for one in determine_actions_to_expand([action]) if "*" not in one and described(one)]


def described(action: str) -> list[dict[str, Any]]:
    """For each kind of resource that an action is for: its ARN, and the condition keys."""
    service, _, name = action.partition(":")
    return get_action_data(service, name).get(service, []) if service in get_all_service_prefixes() else []


def could_be_less(statement: policies.Statement) -> Iterator[str]:
    """The actions that have resources to be allowed on."""
    for action in policies.texts(statement.get("Action")):
        yield from (
            one for one in unfolded(action) if any(kind["resource_arn_format"] != "*" for kind in described(one))
        )


def misplaced(statement: policies.Statement) -> Iterator[str]:
    """The actions that none of the statement's resources is for."""
    places = policies.texts(statement.get("Resource"))
    for action in policies.texts(statement.get("Action")) if "*" not in places else ():
        # Beside the resources stands `*`, for what a request carries whatever it is for.
        kinds = {kind["resource_arn_format"] for one in unfolded(action) for kind in described(one)} - {"*"}
        if not any(meet(place, re.sub(r"\$\{\w+\}", "*", kind)) for place in places for kind in kinds):
            yield f"{action} on {', '.join(places)}"


def unasked(statement: policies.Statement) -> Iterator[str]:
    """The services' own condition keys that no action of the statement carries."""
    actions = {one.lower() for action in policies.texts(statement.get("Action")) for one in unfolded(action)}
    for key in policies.keys(statement.get("Condition")):
        service = key.partition(":")[0]
        if service not in get_all_service_prefixes():
            continue
        known = [one for one in get_condition_keys_for_service(service) if key.startswith(one.split("$")[0].lower())]
        if not any(
            one.lower() in actions for name in known for one in get_actions_matching_condition_key(service, name)
        ):
            yield key


@cache
def meet(one: str, other: str) -> bool:
    """Whether there is a text that both patterns match: IAM's `*`, which takes any text, also in the middle."""
    if one.startswith("*"):
        return meet(one[1:], other) or (other != "" and meet(one, other[1:]))
    if other.startswith("*"):
        return meet(other, one)
    return one == other == "" or (one[:1] == other[:1] != "" and meet(one[1:], other[1:]))
