"""The stack's tags are refused in the stack file, by their key, before anything is planned."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.errors import StackConfigError
from stacks.stack_file import read_settings
from tests.stacks.files import changed, example, flat


def told(tags: dict[str, Any], stack: str = "prod") -> str:
    with pytest.raises(StackConfigError) as caught:
        read_settings(flat(changed(example(stack), {"spillway:tags": tags})))
    return str(caught.value)


def test_every_fault_of_the_tags_is_told_at_once() -> None:
    said = told(
        {
            "project": "R&D (speech)",
            "contact": "ops@example.com, on-call #1",
            "Owner": "search",
            "aws:createdBy": "me",
            "example.com/team": "search",
        }
    )
    for part in ("'project'", "'contact'", "'Owner' and 'owner'", "'aws:createdBy'", "'example.com/team'"):
        assert part in said
    assert said.count("spillway:tags: given") == 5
    assert "speech" not in said


def test_a_packages_objects_have_ten_tags_with_our_own() -> None:
    assert "at most 6" in told({f"tag-{number}": "x" for number in range(7)})


def test_six_tags_that_each_cloud_takes() -> None:
    tags = {f"tag-{number}": "x" for number in range(6)}
    assert read_settings(flat(changed(example("prod"), {"spillway:tags": tags}))).tags == tags
