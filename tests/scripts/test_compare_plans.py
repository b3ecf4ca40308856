"""`scripts/compare_plans.py`: its comparing part on plans written by hand, and a whole plan against itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.compare_plans import ROOT, compare, differences, read_expected, report

BUCKET = "aws:s3/bucket:Bucket"


def _record(type_: str, name: str, **changes: Any) -> dict[str, Any]:
    custom = not type_.startswith("spillway:")
    return {"type": type_, "name": name, "parent": "", "custom": custom, "inputs": {}, "options": {}, **changes}


def _lines(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[str]:
    return [str(found) for found in differences("prod", a, b)]


def test_equal_plans_in_another_order_do_not_differ() -> None:
    records = [_record(BUCKET, "a", inputs={"tags": {"x": 1}}), _record(BUCKET, "b")]
    assert _lines(records, records[::-1]) == []


def test_a_resource_on_one_side_only_is_named() -> None:
    a, b = _record(BUCKET, "old"), _record(BUCKET, "new")
    assert _lines([a], [b]) == [f"prod: only in A {BUCKET} old", f"prod: only in B {BUCKET} new"]


def test_a_changed_input_is_named_by_its_innermost_path() -> None:
    a = _record(BUCKET, "a", inputs={"rules": [{"days": 1}, {"days": 2}]})
    b = _record(BUCKET, "a", inputs={"rules": [{"days": 1}, {"days": 3}], "new": True})
    first, second = differences("prod", [a], [b])
    assert (first.path, first.old, first.new) == ("inputs.new", None, True)
    assert (second.path, second.old, second.new) == ("inputs.rules[1].days", 2, 3)


def test_json_in_an_input_is_looked_into_and_its_writing_counts() -> None:
    one = _record(BUCKET, "a", inputs={"policy": json.dumps({"days": 1})})
    other = _record(BUCKET, "a", inputs={"policy": json.dumps({"days": 2})})
    spaced = _record(BUCKET, "a", inputs={"policy": '{"days":  1}'})
    assert _lines([one], [other]) == [f"prod: changed {BUCKET} a inputs.policy.days"]
    assert _lines([one], [spaced]) == [f"prod: changed {BUCKET} a inputs.policy"]


def test_an_option_counts() -> None:
    a, b = _record(BUCKET, "a", options={"protect": True}), _record(BUCKET, "a")
    assert _lines([a], [b]) == [f"prod: changed {BUCKET} a options.protect"]


def test_a_renamed_component_is_one_difference_however_many_urns_name_it() -> None:
    def plan(kind: str, name: str) -> list[dict[str, Any]]:
        parent = f"spillway:{kind}:Store {name}"
        waits = {"dependencies": sorted([parent, f"{BUCKET} b"])}
        return [
            _record(f"spillway:{kind}:Store", name),
            _record(BUCKET, "a", parent=parent, options=waits),
            _record(BUCKET, "b", parent=parent),
        ]

    old, new = plan("model_store_aws", "the_store"), plan("store", "the-store")
    assert _lines(old, new) == [
        "prod: renamed spillway:model_store_aws:Store the_store -> spillway:store:Store the-store",
    ]


def test_another_parent_is_a_difference() -> None:
    stores = [_record("spillway:store:Store", name) for name in ("one", "two")]
    a = _record(BUCKET, "a", parent="spillway:store:Store one")
    b = _record(BUCKET, "a", parent="spillway:store:Store two")
    assert _lines([*stores, a], [*stores, b]) == [f"prod: changed {BUCKET} a parent"]


def test_expected_differences_are_told_apart_and_counted() -> None:
    a, b = [_record(BUCKET, "a"), _record(BUCKET, "b")], [_record(BUCKET, "a", inputs={"tags": 1})]
    expected = read_expected("# why\n\n*: only in A * b  # nobody reads it\n*: only in B *  # never\n")
    lines = list(report(differences("prod", a, b), expected))
    assert lines[:2] == ["1 unexpected differences", f"  prod: changed {BUCKET} a inputs.tags"]
    assert lines[-2:] == [
        "expected, 1 times: *: only in A * b  # nobody reads it",
        "expected, 0 times: *: only in B *  # never",
    ]


def test_an_expected_difference_needs_a_reason() -> None:
    with pytest.raises(ValueError, match=r"line 1: .* has no reason"):
        read_expected("*: only in A *\n")


@pytest.mark.heavy
@pytest.mark.soak
def test_the_programs_of_two_checkouts_are_run_and_compared() -> None:
    """The same checkout twice: the mocks answer all that `prod` asks for, and two runs give one plan."""
    found, sizes = compare([str(ROOT), str(ROOT)], ["prod"])
    assert found == []
    first, second = sizes["prod"]
    assert first == second > 300
