"""How a rule is written that stands only in a service's documentation: a function, with where the sentence is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.resources import UNKNOWN, Resource

Found = tuple[Resource | None, str, str, str]
"""Resource, path of the property, what would happen, how to mend it."""


def rule(name: str, says: str, source: Source) -> Callable[[Callable[[Graph], Iterator[Found]]], Rule]:
    """Makes the decorated function a rule."""

    def made(found: Callable[[Graph], Iterator[Found]]) -> Rule:
        return Rule(name, says, source, lambda graph: (Finding(name, *each) for each in found(graph)))

    return made


def items(value: Any) -> list[Any]:
    """A list's known items; of anything else, nothing."""
    return [item for item in value if item is not UNKNOWN] if isinstance(value, list | tuple) else []


def waits_for(graph: Graph, resource: Resource, other: Resource) -> bool:
    """Whether ``resource`` is made after ``other``; also where the deployer does not tell what depends on what."""
    chain = (resource, *graph.all_needs(resource))
    return any(one.dependencies is None or other.urn in one.dependencies for one in chain)
