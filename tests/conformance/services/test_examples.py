"""The example stacks as rehearsed: nothing is found in them but what is named as open."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest

from spillway.conformance.graph import Graph
from spillway.conformance.services import RULES
from tests.stacks.files import example
from tests.support.paths import DOCS

PAGE = (DOCS / "reference" / "open-findings.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.heavy


def exemptions(stack: str) -> list[dict[str, str]]:
    return example(stack)["spillway:policies"].get("services_accept", {}).get("exempt", [])


@pytest.mark.parametrize("stack", ["prod", "dev", "local"])
def test_every_finding_is_open_and_every_exemption_is_needed(stack: str, rehearsed: Callable[[str], Graph]) -> None:
    exempt = {(each["rule"], each["resource"]): each["reason"] for each in exemptions(stack)}
    needed = set()
    for rule in RULES:
        for finding in rule.check(rehearsed(stack)):
            name = finding.resource.name if finding.resource else "stack"
            covering = [key for key in exempt if key[0] == finding.rule and fnmatchcase(name, key[1])]
            assert covering, f"{finding.rule}: {name} {finding.path}: {finding.message}"
            needed |= set(covering)
    assert needed == set(exempt)
    assert all(reason.startswith("Open: ") for reason in exempt.values())


def test_the_page_of_open_findings_has_them_all_and_no_other() -> None:
    exempt = {each["rule"] for stack in ("prod", "dev", "local") for each in exemptions(stack)}
    ours = {rule.name for rule in RULES} & set(re.findall(r"^\| `([\w-]+)`", PAGE, re.MULTILINE))
    assert ours == exempt
