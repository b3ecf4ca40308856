"""Regions outside the partition ``aws`` are refused by their key, with the reason."""

from __future__ import annotations

import pytest

from stacks.errors import StackConfigError
from stacks.stack_file import read_settings
from tests.stacks.files import changed, example, flat


@pytest.mark.parametrize(
    ("region", "partition"),
    [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-iso-east-1", "aws-iso")],
)
def test_another_partition_is_refused_with_the_reason(region: str, partition: str) -> None:
    with pytest.raises(StackConfigError) as caught:
        read_settings(flat(changed(example("local"), {"spillway:aws.region": region})))
    said = str(caught.value)
    assert f"spillway:aws.region: given '{region}'" in said
    assert f"partition {partition} are not supported" in said
    assert said.count("spillway:aws.region") == 1


ROLE = "arn:aws-cn:iam::123456789012:role/platform-admin"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-4000-8000-000000000003"
LOGIN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/quay"
IN_CHINA, ELSEWHERE = "of the partition aws-cn", "has to be in aws.region, us-east-1"


@pytest.mark.parametrize(
    ("key", "value", "inside", "why"),
    [
        ("private_cluster.admin_role_arns", [ROLE], "[0]", IN_CHINA),
        ("aws.permissions_boundary_arn", ROLE.replace("role", "policy"), "", IN_CHINA),
        ("burst.sagemaker.kms_key_arn", KEY, "", ELSEWHERE),
        ("connectivity.mirror", {"pull_through": {"quay.io": LOGIN}}, ".pull_through.quay.io", ELSEWHERE),
    ],
)
def test_an_arn_of_another_place_is_refused_by_its_key(key: str, value: object, inside: str, why: str) -> None:
    with pytest.raises(StackConfigError) as caught:
        read_settings(flat(changed(example("prod"), {f"spillway:{key}": value})))
    assert [problem.key for problem in caught.value.problems] == [f"spillway:{key}{inside}"]
    assert why in str(caught.value)
