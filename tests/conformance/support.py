"""Fragments of a deployment, and what a rule finds in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.conformance.catalogue import QUESTIONS
from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding
from spillway.contracts.resources import Resource


def made(
    type_: str, props: Mapping[str, Any], name: str = "it", needs: tuple[Resource, ...] = (), **fields: Any
) -> Resource:
    """A resource with these inputs. ``fields``: others of the record, such as ``outputs`` and ``id``."""
    urn = f"urn:pulumi:test::spillway::{type_}::{name}"
    return Resource(type_, name, urn, props, dependencies=frozenset(each.urn for each in needs), **fields)


def found(rule: str, *resources: Resource) -> list[Finding]:
    """What the rule of this name finds."""
    [check] = [each.check for rules in QUESTIONS.values() for each in rules if each.name == rule]
    return list(check(Graph(resources)))
