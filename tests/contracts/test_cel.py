"""Rules of custom kinds as an API server keeps them: https://kubernetes.io/docs/reference/using-api/cel/."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.services.kubernetes.custom_kinds import types
from spillway.contracts.cel import CelRule, broken, rules_of

UNKNOWN = object()


def told(rule: str, value: Any, *path: str) -> list[tuple[str, str]]:
    return list(broken([CelRule(path, rule, "no")], value, UNKNOWN))


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("has(self.a) != has(self.b)", {"a": 1}, {"a": 1, "b": 1}),
        ("self.matches('^[a-z]+$')", "abc", "ABC"),
        ("!self.find('^([^/]+)').endsWith('karpenter.sh')", "example.com/a", "karpenter.sh/a"),
        ("self.split('@')[0] in ['al2023']", "al2023@latest", "al1@latest"),
        ("self.all(k, k != '' && self[k] != '')", {"a": "b"}, {"a": ""}),
        ("!has(self.n) || self.n <= 100", {"n": 100.0}, {"n": 101.0}),
        ("self.size() == 0 || self.exists(x, x.i == 0)", [{"i": 0}], [{"i": 1}]),
    ],
)
def test_a_rule_holds_or_is_broken(rule: str, good: Any, bad: Any) -> None:
    assert told(rule, good) == []
    assert told(rule, bad) == [("", "no")]


def test_what_cannot_be_evaluated_is_broken_as_for_the_api_server() -> None:
    assert told("self.missing == 1", {}) == [("", "no")]


def test_a_value_with_something_unknown_in_it_breaks_nothing() -> None:
    assert told("has(self.b)", {"a": [UNKNOWN]}) == []


def test_every_item_is_asked_by_its_path() -> None:
    found = told("self != ''", {"spec": {"keys": ["a", "", None]}}, "spec", "keys", "*")
    assert found == [("spec.keys.1", "no")]


def test_rules_about_a_change_are_left_out() -> None:
    schema = {
        "properties": {
            "replicas": {
                "x-kubernetes-validations": [{"rule": "self == oldSelf"}, {"rule": "self > 0", "message": "positive"}]
            }
        }
    }
    assert list(rules_of(schema)) == [CelRule(("replicas",), "self > 0", "positive")]


def test_every_rule_of_the_custom_kinds_can_be_asked() -> None:
    """None uses more of Kubernetes' library than is known here: an empty object keeps or breaks it."""
    rules = [rule for of_type in types().values() for rule in of_type]
    assert len(rules) > 50
    for rule in rules:
        list(broken([CelRule((), rule.rule, "no")], {}, UNKNOWN))


def test_what_is_no_cel_is_an_error() -> None:
    with pytest.raises(ValueError, match="no CEL"):
        told("self ===", {})
