"""What a conformance rule is: a sentence of a service's own, where that stands, and a check over the resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spillway.conformance.graph import Graph
from spillway.contracts.resources import Resource


@dataclass(frozen=True)
class Source:
    """Where a rule stands. ``version``: of the model it was taken from, or the day on which it was read, ISO."""

    title: str
    url: str
    version: str


@dataclass(frozen=True)
class Finding:
    """One fault. ``resource``: ``None`` for the plan as a whole; ``path``: of the property, dotted, or empty.

    ``message`` says what would happen, ``remedy`` how to mend it, by the stack file's key where there is one.
    """

    rule: str
    resource: Resource | None
    path: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Rule:
    """One rule. ``name``: kebab-case, begins with the service. ``says``: what the service demands, in one sentence."""

    name: str
    says: str
    source: Source
    check: Callable[[Graph], Iterator[Finding]]
