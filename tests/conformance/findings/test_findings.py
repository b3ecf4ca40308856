"""Every finding of the two reviews: a faulty stack that a rule refuses, or a reason on docs/reference/findings.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest

from spillway.conformance.catalogue import QUESTIONS
from spillway.conformance.graph import Graph
from spillway.contracts.resources import Resource
from tests.conformance.findings import aws, azure
from tests.conformance.findings.mutations import Case
from tests.conformance.support import found
from tests.stacks.files import example
from tests.support.paths import DOCS, ROOT

CASES = (*aws.CASES, *azure.CASES)
COUNTS = {("AWS", "B"): 9, ("AWS", "M"): 22, ("Azure", "B"): 9, ("Azure", "M"): 18}
"""How many blockers and how many major findings each review has."""
ROW = re.compile(r"^\| (?P<finding>(?:AWS|Azure) [BM]\d+) \| [^|]+ \| (?P<rules>[^|]*) \| (?P<proof>[^|]+) \|$")
ROWS = {
    match["finding"]: match
    for line in (DOCS / "reference" / "findings.md").read_text(encoding="utf-8").splitlines()
    if (match := ROW.match(line))
}


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES, ids=[f"{case.finding} {case.rule}" for case in CASES])
def test_a_finding_put_back_is_refused(case: Case, rehearsed: Callable[[str], Graph]) -> None:
    good = list(rehearsed(case.stack).resources)
    faulty = told(case, case.fault(good))
    assert faulty, f"{case.rule} does not name {case.accused}"
    if not all(is_open(case, name) for name, _ in faulty):
        assert faulty - told(case, good), f"{case.rule} says the same of {case.accused} in the stack as it is"


def told(case: Case, resources: list[Resource]) -> set[tuple[str, str]]:
    """(resource, message) of what the rule says of the accused."""
    every = {(one.resource.name if one.resource else "", one.message) for one in found(case.rule, *resources)}
    return {(name, message) for name, message in every if name.endswith(case.accused)}


def is_open(case: Case, name: str) -> bool:
    """Whether the example says itself that this is not mended yet."""
    policies = example(case.stack)["spillway:policies"]
    exempt = [one for policy in policies.values() for one in policy.get("exempt", ())]
    return any(one.get("rule") == case.rule and fnmatchcase(name, one["resource"]) for one in exempt)


def test_the_page_has_every_finding_once() -> None:
    wanted = [f"{cloud} {kind}{n + 1}" for (cloud, kind), count in COUNTS.items() for n in range(count)]
    assert list(ROWS) == wanted


@pytest.mark.parametrize("finding", ROWS)
def test_a_row_names_its_rules_or_its_reason(finding: str) -> None:
    row = ROWS[finding]
    named = re.findall(r"`([\w-]+)`", row["rules"])
    assert named == list(dict.fromkeys(case.rule for case in CASES if case.finding == finding))
    assert named or row["proof"].startswith("Not in a plan: ")


def test_named_rules_and_tests_exist() -> None:
    rules = {rule.name for rules in QUESTIONS.values() for rule in rules}
    assert {case.rule for case in CASES} <= rules
    for row in ROWS.values():
        for path, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row["proof"]):
            text = (ROOT / path).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in text, f"{row['finding']}: {path} has no {test}"
