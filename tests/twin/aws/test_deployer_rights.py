"""The deployer's policies: known actions only, exact where something is written, and no longer than IAM takes."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from spillway.conformance.services.aws import policies as conformance
from spillway.twin.aws.deployer_rights import LONGEST, policies
from spillway.twin.aws.services import ROWS
from tests.program.named import NAMED

KNOWN = json.loads((Path(conformance.__file__).with_name("iam.json")).read_text(encoding="utf-8"))["services"]
TYPES = [type_ for types in NAMED.values() for type_ in types if type_.startswith("aws:")]


def statements(*types: str) -> list[dict[str, Any]]:
    found = [json.loads(one) for one in policies(types, "spillway-prod", "123456789012", "us-east-1")]
    return [statement for document in found for statement in document["Statement"]]


@pytest.mark.parametrize("types", [TYPES, list(ROWS)], ids=["prod", "every type"])
def test_every_action_exists_and_no_document_is_too_long(types: list[str]) -> None:
    documents = policies(types, "spillway-prod", "123456789012", "us-east-1")
    assert all(len(document) <= LONGEST for document in documents)
    assert len(documents) <= 10, "as many as a role takes by default"
    for document in documents:
        for statement in json.loads(document)["Statement"]:
            for action in statement["Action"]:
                service, _, name = action.lower().partition(":")
                assert any(fnmatchcase(known, name) for known in KNOWN[service]), action


def test_what_is_bound_to_names_can_be() -> None:
    """Some actions are allowed on everything or on nothing (IAM's own definitions: no kind of resource)."""
    for statement in statements(*TYPES):
        for action in statement["Action"] if statement["Resource"] != ["*"] else ():
            service, _, name = action.lower().partition(":")
            if "*" not in name:
                assert KNOWN[service][name], action


def test_what_is_written_is_exact_and_bound_to_the_stack() -> None:
    for statement in statements(*TYPES):
        writes = [a for a in statement["Action"] if not a.partition(":")[2].startswith(("Get", "Describe", "List"))]
        assert not any("*" in action for action in writes)
        if writes and statement["Resource"] == ["*"] and statement["Sid"] not in ("Budgets", "Ce", "Route53", "Read"):
            assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": "us-east-1"}}


def test_a_right_goes_with_the_last_resource_that_needs_it() -> None:
    def actions(*types: str) -> set[str]:
        return {action for statement in statements(*types) for action in statement["Action"]}

    role, endpoint = "aws:iam/role:Role", "aws:sagemaker/endpoint:Endpoint"
    assert {"sagemaker:CreateEndpoint", "sagemaker:UpdateEndpoint", "sagemaker:DeleteEndpoint"} <= actions(endpoint)
    assert "sagemaker:CreateModel" not in actions(endpoint)
    assert "iam:PassRole" in actions(role, endpoint)
    assert "iam:PassRole" not in actions(endpoint)
    assert "cloudwatch:PutMetricAlarm" in actions("aws:cloudwatch/metricAlarm:MetricAlarm")
    # Cloud Map makes a namespace's zone with the caller's rights.
    namespace = "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace"
    assert {"route53:CreateHostedZone", "servicediscovery:DeleteNamespace"} <= actions(namespace)
    assert "s3:PutEncryptionConfiguration" in actions(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    )
