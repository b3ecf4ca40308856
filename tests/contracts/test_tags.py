from __future__ import annotations

import pytest

from spillway.contracts.tags import Cloud, tag_problems


@pytest.mark.parametrize(
    ("tags", "cloud", "said"),
    [
        ({"project": "R&D (speech)"}, "aws", "the value holds & ( )"),
        ({"contact": "ops@example.com, on-call #1"}, "aws", "the value holds , #"),
        ({"aws:createdBy": "me"}, "aws", "names that begin with 'aws:' are AWS' own"),
        ({"AWS:x": "me"}, "aws", "names that begin with 'aws:' are AWS' own"),
        ({"Owner": "search", "owner": "ml"}, "aws", "'Owner' and 'owner' differ in case alone"),
        ({"Owner": "search", "owner": "ml"}, "azure", "differ in case alone"),
        ({"example.com/team": "search"}, "azure", "the name holds /"),
        ({"a": "x" * 257}, "azure", "the value has 257 characters"),
        ({"a" * 129: "x"}, "aws", "the name has 129 characters"),
        ({f"tag-{n}": "x" for n in range(51)}, "aws", "51 tags"),
    ],
)
def test_what_a_cloud_says_of_tags(tags: dict[str, str], cloud: Cloud, said: str) -> None:
    told = [problem for _, problem in tag_problems(tags, cloud)]
    assert any(said in problem for problem in told), told


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_what_each_cloud_takes(cloud: Cloud) -> None:
    tags = {"owner": "ml-platform", "cost-centre": "cc-4711", "contact": "ops@example.com", "Größe": "drei + 1"}
    assert list(tag_problems(tags, cloud)) == []


def test_azure_takes_in_values_what_aws_does_not() -> None:
    assert list(tag_problems({"project": "R&D (speech)"}, "azure")) == []
    assert list(tag_problems({"example.com/team": "search"}, "aws")) == []
