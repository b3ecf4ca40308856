"""What a flow is: an arrow with its doors in order, and what each door answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource


@dataclass(frozen=True)
class Closed:
    """Why a door lets nothing through: ``resource`` and ``path`` of the property that decides, and how to mend it."""

    resource: Resource | None
    path: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Door:
    """``closed`` yields nothing where the door is open, or cannot be judged from the plan."""

    name: str
    closed: Callable[[], Iterator[Closed]]


@dataclass(frozen=True)
class Flow:
    """One arrow. ``over``: protocol and port, such as ``tcp/443``."""

    source: str
    target: str
    over: str
    doors: tuple[Door, ...]

    @property
    def name(self) -> str:
        return f"{self.source} → {self.target}"


@dataclass(frozen=True)
class Family:
    """Flows of one purpose; the family is also the rule that findings name. ``name``: kebab-case."""

    name: str
    says: str
    source: Source
    flows: Callable[[World], Iterator[Flow]]


@dataclass(frozen=True)
class Answer:
    """A flow that was walked. ``closed``: each closed door, in order; empty: it is open."""

    family: Family
    flow: Flow
    closed: tuple[tuple[Door, Closed], ...]

    @property
    def open(self) -> bool:
        return not self.closed
