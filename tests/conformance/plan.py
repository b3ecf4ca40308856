"""Fragments of a plan for the rules of order and names: resources that answer IDs and depend on one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule
from spillway.contracts.resources import Resource


def made(
    type_: str,
    name: str,
    props: dict[str, Any] | None = None,
    *,
    id_: str = "",
    outputs: dict[str, Any] | None = None,
    needs: Sequence[Resource] = (),
    provider: Resource | None = None,
) -> Resource:
    """A resource as a rehearsal leaves it. ``id_``: its name, unless it is given."""
    urn = f"urn:pulumi:prod::spillway::{type_}::{name}"
    found = Resource(type_, name, urn, props or {}, id=id_ or name, outputs=outputs or {})
    return replace(found, dependencies=frozenset(one.urn for one in needs), provider=provider.urn if provider else "")


def needing(resource: Resource, *needed: Resource) -> Resource:
    """The same, depending on these, too."""
    own = resource.dependencies or frozenset()
    return replace(resource, dependencies=own | {one.urn for one in needed})


def findings(rules: Iterable[Rule], name: str, *resources: Resource) -> list[Finding]:
    """What the rule of this name says of a fragment."""
    [rule] = [rule for rule in rules if rule.name == name]
    found = list(rule.check(Graph(resources)))
    assert {finding.rule for finding in found} <= {name}
    return found


def accused(rules: Iterable[Rule], name: str, *resources: Resource) -> list[str]:
    """Names of the resources that the rule finds at fault."""
    return [finding.resource.name if finding.resource else "stack" for finding in findings(rules, name, *resources)]
