"""Names of a plan: which are given by hand, and what the stack calls itself."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.contracts.resources import Resource

_AUTOMATIC: Final = {"aws": re.compile(r"-[0-9a-f]{7}(\.fifo)?$"), "azure-native": re.compile(r"[0-9a-f]{8}$")}
"""How the providers end the names that they draw themselves; each draw is another one.

https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming, read on 2026-11-29.
"""


def is_fixed(resource: Resource, name: Any) -> bool:
    """Whether this name was given by hand: the next resource of the kind would have the same one."""
    if not isinstance(name, str) or not name:
        return False
    ending = _AUTOMATIC[resource.type.partition(":")[0]].search(name)
    return not (ending and name.startswith(resource.name[: ending.start()]))


def prefix_of(graph: Graph) -> str:
    """What all resources' names begin with: ``<name>-<stack>``. Empty where they have nothing in common."""
    names = [r.name for r in graph.resources if not r.type.startswith("pulumi:providers:")]
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(letter for letter, _ in same).rpartition("-")[0]
