"""The four questions of conformance, asked as policies. The rules themselves are tested in tests/conformance."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from policies.rules import conformance
from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.resources import Resource
from tests.policies.support import found

QUESTIONS = ("services-accept", "flows-open", "changes-go-through", "places-allow")
KEY = Resource("aws:kms/key:Key", "key", "urn:pulumi:test::spillway::aws:kms/key:Key::key", {"description": "it's"})


def _every_key(graph: Graph) -> Iterator[Finding]:
    for resource in graph.of(KEY.type):
        yield Finding("kms-test", resource, "description", "would be refused", "Write it otherwise.")


@pytest.fixture(params=QUESTIONS)
def question(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    rule = Rule("kms-test", "Nothing is accepted.", Source("a test", "https://example.com", "2026-11-29"), _every_key)
    monkeypatch.setattr(conformance, "QUESTIONS", dict.fromkeys(QUESTIONS, (rule,)))
    return request.param


def test_a_finding_stops_the_deployment_and_names_property_rule_and_remedy(question: str) -> None:
    [violation] = found(question, [KEY]).violations
    assert violation.level == "mandatory"
    assert violation.finding == conformance.Finding(
        KEY, "description: would be refused", "kms-test", "Write it otherwise."
    )


def test_an_exemption_may_be_for_one_rule(question: str) -> None:
    exempt = {"resource": "key", "reason": "a test of exemptions"}
    assert not found(question, [KEY], {"exempt": [{**exempt, "rule": "kms-test"}]}).violations
    assert found(question, [KEY], {"exempt": [{**exempt, "rule": "kms-other"}]}).violations
