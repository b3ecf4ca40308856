"""A stack's name, and its settings' name, are refused before anything is planned: each service takes what begins so."""

from __future__ import annotations

import pytest

from stacks.errors import StackConfigError
from stacks.rules.stack_name import LONGEST
from stacks.stack_file import read_settings
from tests.stacks.files import changed, example, flat


@pytest.mark.parametrize(
    ("name", "stack"),
    [
        ("spillway", "Prod"),
        ("spillway", "prod_eu"),
        ("spillway", "eu.west"),
        ("spillway", "prod-"),
        ("ab-", "prod"),
        ("spillway", "ü"),
        ("spillway", "production-eu-west-1"),
        ("vision-embedding", "staging2"),
    ],
)
def test_a_name_that_some_service_refuses(name: str, stack: str) -> None:
    with pytest.raises(StackConfigError) as caught:
        read_settings(flat(changed(example("local"), {"spillway:name": name})), stack=stack)
    (problem,) = caught.value.problems
    assert problem.key == "spillway:name"
    assert problem.given == f"{name!r} for the stack {stack!r}"
    assert f"begin with {name}-{stack}, " in problem.advice
    assert f"{LONGEST} in all" in problem.advice


@pytest.mark.parametrize("stack", ["prod", "deepseek-v3", "2", "prod-planned", "a" * (LONGEST - len("spillway-"))])
def test_a_name_that_all_take(stack: str) -> None:
    """That they do is shown by the examples, which are planned under the longest name."""
    assert read_settings(flat(example("local")), stack=stack).name == "spillway"
