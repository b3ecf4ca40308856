"""Walks every flow of a plan, door by door."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Final

from spillway.conformance.flows import families
from spillway.conformance.flows.flow import Answer, Closed, Family
from spillway.conformance.flows.world import World
from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule


def _found() -> Iterator[Family]:
    """Each module of ``families`` declares one, so that another site or part adds a file and edits none."""
    for module in pkgutil.iter_modules(families.__path__):
        yield importlib.import_module(f"{families.__name__}.{module.name}").FAMILY


FAMILIES: Final = tuple(_found())


def walk(graph: Graph) -> tuple[Answer, ...]:
    """Every flow with the doors that are closed to it.

    Nothing where an ID is not known yet: without it, nobody can tell what leads where. A rehearsal knows every one.
    """
    return _walked(graph)


@lru_cache(maxsize=2)
def _walked(graph: Graph) -> tuple[Answer, ...]:
    if any(resource.id is None for resource in graph.resources):
        return ()
    world = World(graph)
    return tuple(
        Answer(family, flow, tuple((door, closed) for door in flow.doors for closed in door.closed()))
        for family in FAMILIES
        for flow in family.flows(world)
    )


def _check(family: Family, graph: Graph) -> Iterator[Finding]:
    """One finding for each thing to mend, with the flows that it stops."""
    stopped: dict[tuple[str, str, str], tuple[Closed, list[str]]] = {}
    for answer in walk(graph):
        if answer.family is not family:
            continue
        for _, closed in answer.closed:
            urn = closed.resource.urn if closed.resource else ""
            key = (urn, closed.path, closed.message)
            stopped.setdefault(key, (closed, []))[1].append(answer.flow.name)
    for closed, names in stopped.values():
        flows = ", ".join(dict.fromkeys(names))
        yield Finding(family.name, closed.resource, closed.path, f"{closed.message}; closed to: {flows}", closed.remedy)


RULES: Final = tuple(Rule(family.name, family.says, family.source, partial(_check, family)) for family in FAMILIES)
