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
